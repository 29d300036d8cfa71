package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"forge/internal/diag"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// PushOptions refine a Push.
type PushOptions struct {
	Mount    []name.Repository       // repositories of the same registry that may already hold layers, such as the parent image's
	Progress func(done, total int64) // bytes of blobs; calls do not overlap
}

// Push puts the layout's image or index into a repository under its digest, and under
// no tag. What the registry has already is not sent again, so a Push that died is
// finished by another. Nothing refers to a blob or manifest before it is there.
func (c *Client) Push(ctx context.Context, repo name.Repository, from *Layout, opt PushOptions) (name.Digest, error) {
	set, err := collect(ctx, from, from.Root)
	if err != nil {
		return name.Digest{}, fault(err, repo.RegistryStr(), "reading OCI layout %q", from.path)
	}
	m := &meter{report: opt.Progress}
	for _, d := range set.blobs {
		m.total += d.Size
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(c.opt.Jobs)
	for _, d := range set.blobs {
		group.Go(func() error {
			err := c.pushBlob(inner, repo, &layer{ctx: inner, from: from, desc: d, meter: m}, opt.Mount)
			return fault(err, repo.RegistryStr(), "pushing blob %s to %q", d.Digest, repo)
		})
	}
	if err := group.Wait(); err != nil {
		return name.Digest{}, err
	}
	for _, p := range set.manifests {
		ref := repo.Digest(p.digest.String())
		if err := c.putMissing(ctx, ref, p); err != nil {
			return name.Digest{}, fault(err, repo.RegistryStr(), "pushing manifest %q", ref)
		}
	}
	return repo.Digest(from.Root.Digest.String()), nil
}

// contents is all that a manifest reaches.
type contents struct {
	blobs     []v1.Descriptor // each once
	manifests []page          // children before parents
	seen      map[v1.Hash]bool
}

// page is a manifest's bytes; go-containerregistry can put it.
type page struct {
	digest v1.Hash
	raw    []byte
	media  types.MediaType
}

func (p page) RawManifest() ([]byte, error)        { return p.raw, nil }
func (p page) MediaType() (types.MediaType, error) { return p.media, nil }

func collect(ctx context.Context, src source, root v1.Descriptor) (*contents, error) {
	c := &contents{seen: map[v1.Hash]bool{}}
	return c, c.add(ctx, src, root, 0)
}

func (c *contents) add(ctx context.Context, src source, d v1.Descriptor, depth int) error {
	if c.seen[d.Digest] {
		return nil
	}
	c.seen[d.Digest] = true
	if depth > 4 {
		return fmt.Errorf("%w: indexes nested more than 4 deep", errContent)
	}
	m, raw, err := read(ctx, src, d)
	if err != nil {
		return err
	}
	if m.index != nil {
		for _, child := range m.index.Manifests {
			if err := c.add(ctx, src, child, depth+1); err != nil {
				return err
			}
		}
	} else {
		if m.image.Config.MediaType.IsConfig() {
			if _, err := readConfig(ctx, src, m.image); err != nil {
				return err
			}
		}
		for _, b := range append([]v1.Descriptor{m.image.Config}, m.image.Layers...) {
			if !c.seen[b.Digest] {
				c.seen[b.Digest] = true
				c.blobs = append(c.blobs, b)
			}
		}
	}
	c.manifests = append(c.manifests, page{d.Digest, raw, m.media(d.MediaType)})
	return nil
}

// pushBlob uploads one blob, unless the repository has it or another one of the same
// registry can lend it.
func (c *Client) pushBlob(ctx context.Context, repo name.Repository, l *layer, mount []name.Repository) error {
	var up v1.Layer = l
	if from, ok := c.lender(ctx, repo, l.desc.Digest, mount); ok {
		up = &remote.MountableLayer{Layer: l, Reference: from.Digest(l.desc.Digest.String())}
	}
	err := c.again(ctx, func() error { return c.pusher.Upload(ctx, repo, up) })
	if err == nil {
		l.meter.set(l, l.desc.Size)
	}
	return err
}

// lender finds a repository to mount a blob from. It only saves time: any fault in
// looking means that the blob is uploaded.
func (c *Client) lender(ctx context.Context, repo name.Repository, h v1.Hash, mount []name.Repository) (name.Repository, bool) {
	if len(mount) == 0 || c.has(ctx, repo, h) {
		return name.Repository{}, false
	}
	for _, from := range mount {
		if from.RegistryStr() == repo.RegistryStr() && from.String() != repo.String() && c.has(ctx, from, h) {
			return from, true
		}
	}
	return name.Repository{}, false
}

func (c *Client) has(ctx context.Context, repo name.Repository, h v1.Hash) bool {
	l, err := c.puller.Layer(ctx, repo.Digest(h.String()))
	if err != nil {
		return false
	}
	ok, err := partial.Exists(l)
	return ok && err == nil
}

// putMissing puts a manifest unless the registry gives back exactly its bytes.
func (c *Client) putMissing(ctx context.Context, ref name.Digest, p page) error {
	got, err := c.get(ctx, ref)
	if err == nil && bytes.Equal(got.raw, p.raw) {
		return nil
	}
	var answer *ggcr.Error
	if err != nil && !(errors.As(err, &answer) && (answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusForbidden)) {
		return err
	}
	return c.again(ctx, func() error { return c.pusher.Put(ctx, ref, p) })
}

// get reads a manifest. By digest, its bytes have that digest.
func (c *Client) get(ctx context.Context, ref name.Reference) (page, error) {
	var p page
	err := c.again(ctx, func() error {
		d, err := c.puller.Get(ctx, ref)
		if err == nil {
			p = page{d.Digest, d.Manifest, d.MediaType}
		}
		return err
	})
	return p, err
}

// again repeats a transfer that was cut in the middle of a body, where the transport
// cannot repeat it. What the transport gave up on is not tried again.
func (c *Client) again(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || try >= c.opt.Tries || ctx.Err() != nil || !startOver(err) {
			return err
		}
		if err := c.opt.Sleep(ctx, 500*time.Millisecond<<(try-1)); err != nil {
			return err
		}
	}
}

// startOver tells whether a whole transfer may work when begun anew: its connection was
// cut, or its upload session was lost or refused for now.
func startOver(err error) bool {
	var spent exhausted
	if errors.As(err, &spent) {
		return false
	}
	var answer *ggcr.Error
	if errors.As(err, &answer) {
		return answer.Request != nil && inSession(answer.Request) &&
			(answer.StatusCode == http.StatusNotFound || temporary(answer.StatusCode))
	}
	return cut(err)
}

// layer is a blob of a layout, as go-containerregistry uploads it.
type layer struct {
	ctx   context.Context
	from  source
	desc  v1.Descriptor
	meter *meter
}

func (l *layer) Digest() (v1.Hash, error)             { return l.desc.Digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return v1.Hash{}, errors.ErrUnsupported }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
func (l *layer) Size() (int64, error)                 { return l.desc.Size, nil }

// MediaType is one that is always sent; the real one stands in the manifest.
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	rc, err := l.from.blob(l.ctx, l.desc)
	if err != nil {
		return nil, err
	}
	return &counted{ReadCloser: rc, l: l}, nil
}

// counted reports how far a blob has been read.
type counted struct {
	io.ReadCloser
	l *layer
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	c.l.meter.set(c.l, c.n)
	return n, err
}

// meter adds up what all blobs have done.
type meter struct {
	mu          sync.Mutex
	of          map[*layer]int64
	done, total int64
	report      func(done, total int64)
}

// set says how much of one blob is done.
func (m *meter) set(l *layer, n int64) {
	if m.report == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[*layer]int64{}
	}
	m.done += n - m.of[l]
	m.of[l] = n
	m.report(m.done, m.total)
}

// Tag points a tag at a digest of the same repository, moving it if it exists.
func (c *Client) Tag(ctx context.Context, d name.Digest, tag string) error {
	return c.tag(ctx, d, tag, false)
}

// TagOnce points a tag at a digest, and refuses (RegistryRefused) to move one that
// points at another.
func (c *Client) TagOnce(ctx context.Context, d name.Digest, tag string) error {
	return c.tag(ctx, d, tag, true)
}

func (c *Client) tag(ctx context.Context, d name.Digest, tag string, once bool) error {
	ref, err := name.NewTag(d.Context().Name()+":"+tag, c.nameOptions(d.Context().Name())...)
	if err != nil {
		return diag.Errorf(diag.ReferenceInvalid, "", "tagging %q: %w", d, err)
	}
	host := d.Context().RegistryStr()
	now, err := c.Resolve(ctx, ref)
	switch {
	case err == nil && now.DigestStr() == d.DigestStr():
		return nil
	case err == nil && once:
		return diag.Errorf(diag.RegistryRefused, "Nothing was changed. Publish under another version, or find out who pushed the other image.",
			"tagging %q: the tag never moves, and is at %s instead of %s", ref, now.DigestStr(), d.DigestStr())
	case err != nil && diag.IDOf(err) != diag.ImageNotFound:
		return err
	}
	p, err := c.get(ctx, d)
	if err != nil {
		return fault(err, host, "tagging %q", ref)
	}
	if err := c.again(ctx, func() error { return c.pusher.Put(ctx, ref, p) }); err != nil {
		return fault(err, host, "tagging %q", ref)
	}
	now, err = c.Resolve(ctx, ref)
	if err == nil && now.DigestStr() != d.DigestStr() {
		return diag.Errorf(diag.RegistryRefused, "Find out who else writes this tag.", "tagging %q: it is at %s instead of %s", ref, now.DigestStr(), d.DigestStr())
	}
	return err
}
