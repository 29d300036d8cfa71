package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// Resolve finds the digest that a reference points at now. It costs one HEAD, or one
// GET where the registry leaves the digest out of its answer.
func (c *Client) Resolve(ctx context.Context, ref name.Reference) (name.Digest, error) {
	d, err := c.puller.Head(ctx, ref)
	if err == nil {
		return ref.Context().Digest(d.Digest.String()), nil
	}
	var answer *ggcr.Error
	if errors.As(err, &answer) || refused(err) || cut(err) {
		return name.Digest{}, fault(err, ref.Context().RegistryStr(), "resolving %q", ref)
	}
	p, err := c.get(ctx, ref)
	if err != nil {
		return name.Digest{}, fault(err, ref.Context().RegistryStr(), "resolving %q", ref)
	}
	return ref.Context().Digest(p.digest.String()), nil
}

// Manifest reads the manifest or index that a reference points at, with its media type,
// digest and size as the registry gives them; by digest, the bytes have that digest.
func (c *Client) Manifest(ctx context.Context, ref name.Reference) ([]byte, v1.Descriptor, error) {
	p, err := c.get(ctx, ref)
	if err != nil {
		return nil, v1.Descriptor{}, fault(err, ref.Context().RegistryStr(), "reading %q", ref)
	}
	return p.raw, v1.Descriptor{MediaType: p.media, Digest: p.digest, Size: int64(len(p.raw))}, nil
}

// Blob opens a blob of exactly the descriptor's digest and size: a read of other bytes
// fails, at the end at the latest. Errors in reading have ids, as those of all methods.
func (c *Client) Blob(ctx context.Context, repo name.Repository, d v1.Descriptor) (io.ReadCloser, error) {
	rc, err := (&repository{client: c, repo: repo}).blob(ctx, d)
	if err != nil {
		return nil, fault(err, repo.RegistryStr(), "reading blob %s of %q", d.Digest, repo)
	}
	return &opened{ReadCloser: rc, repo: repo, digest: d.Digest}, nil
}

// opened gives the errors of reading a blob their ids.
type opened struct {
	io.ReadCloser
	repo   name.Repository
	digest v1.Hash
}

func (o *opened) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fault(err, o.repo.RegistryStr(), "reading blob %s of %q", o.digest, o.repo)
	}
	return n, err
}

// Confirm checks that the registry holds all of an image or index: every manifest is
// read back by digest, every config in full, every layer's presence and size asked for.
func (c *Client) Confirm(ctx context.Context, d name.Digest) error {
	host := d.Context().RegistryStr()
	src := &repository{client: c, repo: d.Context()}
	h, err := v1.NewHash(d.DigestStr())
	if err != nil {
		return fault(err, host, "reading back %q", d)
	}
	var set *contents
	err = c.again(ctx, func() (err error) {
		set, err = collect(ctx, src, v1.Descriptor{Digest: h})
		return err
	})
	if err != nil {
		return fault(err, host, "reading back %q", d)
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(c.opt.Jobs)
	for _, b := range set.blobs {
		group.Go(func() error {
			return fault(src.confirm(inner, b), host, "reading back blob %s of %q", b.Digest, d)
		})
	}
	return group.Wait()
}

// repository is a source in a registry.
type repository struct {
	client *Client
	repo   name.Repository
}

func (r *repository) manifest(ctx context.Context, h v1.Hash) ([]byte, types.MediaType, error) {
	p, err := r.client.get(ctx, r.repo.Digest(h.String()))
	return p.raw, p.media, err
}

func (r *repository) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	l, err := r.client.puller.Layer(ctx, r.repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	return verify(rc, d), nil
}

func (r *repository) confirm(ctx context.Context, d v1.Descriptor) error {
	l, err := r.client.puller.Layer(ctx, r.repo.Digest(d.Digest.String()))
	if err != nil {
		return err
	}
	size, err := l.Size()
	if err == nil && size != d.Size {
		err = fmt.Errorf("%w: it has %d bytes, its descriptor says %d", errContent, size, d.Size)
	}
	return err
}
