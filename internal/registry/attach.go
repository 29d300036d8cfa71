package registry

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"forge/internal/diag"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ociStatic "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Attach pushes an image manifest that has a subject, by digest, with the blobs that it
// names, so that Referrers of the subject lists it; doing so again changes nothing. It
// also mends a registry without the referrers API where an earlier attempt died after
// the manifest and before the fallback tag: that a manifest is there does not say that
// it is listed.
func (c *Client) Attach(ctx context.Context, repo name.Repository, manifest []byte, blobs ...[]byte) (name.Digest, error) {
	d, err := c.attach(ctx, repo, manifest, blobs)
	if err != nil {
		return name.Digest{}, fault(err, repo.RegistryStr(), "attaching evidence in %q", repo)
	}
	return d, nil
}

func (c *Client) attach(ctx context.Context, repo name.Repository, raw []byte, blobs [][]byte) (name.Digest, error) {
	m, err := parse(raw, types.OCIManifestSchema1)
	if err != nil {
		return name.Digest{}, err
	}
	if m.image.Subject == nil {
		return name.Digest{}, diag.Errorf(diag.ReferenceInvalid, "", "attaching in %q: the manifest has no subject", repo)
	}
	h, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return name.Digest{}, err
	}
	ref := repo.Digest(h.String())
	// The fallback tag is read, changed and written: one at a time.
	c.attaching.Lock()
	defer c.attaching.Unlock()
	listed, err := c.Referrers(ctx, repo.Digest(m.image.Subject.Digest.String()))
	if err != nil {
		return name.Digest{}, err
	}
	if slices.ContainsFunc(listed, func(l v1.Descriptor) bool { return l.Digest == h }) {
		return ref, c.Confirm(ctx, ref)
	}
	return ref, c.write(ctx, ref, raw, blobs)
}

// Write puts an OCI image manifest under a tag, after the blobs that it names; those
// that the repository has already may be left out. A tag that exists is moved.
func (c *Client) Write(ctx context.Context, tag name.Tag, manifest []byte, blobs ...[]byte) error {
	return fault(c.write(ctx, tag, manifest, blobs), tag.RegistryStr(), "writing %q", tag)
}

func (c *Client) write(ctx context.Context, ref name.Reference, manifest []byte, blobs [][]byte) error {
	for _, b := range blobs {
		l := ociStatic.NewLayer(b, types.OCILayer)
		if err := c.again(ctx, func() error { return c.pusher.Upload(ctx, ref.Context(), l) }); err != nil {
			return fmt.Errorf("blob: %w", err)
		}
	}
	p := page{raw: manifest, media: types.OCIManifestSchema1}
	return c.again(ctx, func() error { return c.pusher.Put(ctx, ref, p) })
}
