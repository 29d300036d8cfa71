package registry

import (
	"context"
	"fmt"
	"slices"

	"forge/internal/diag"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// Attach pushes a manifest that has a subject, by digest, so that Referrers of the
// subject lists it; doing so again changes nothing. Unlike remote.Write it also mends a
// registry without the referrers API where an earlier attempt died after the manifest
// and before the fallback tag: remote.Write finds the manifest there and stops.
func (c *Client) Attach(ctx context.Context, repo name.Repository, img v1.Image) (name.Digest, error) {
	d, err := c.attach(ctx, repo, img)
	if err != nil {
		return name.Digest{}, fault(err, repo.RegistryStr(), "attaching evidence in %q", repo)
	}
	return d, nil
}

func (c *Client) attach(ctx context.Context, repo name.Repository, img v1.Image) (name.Digest, error) {
	m, err := img.Manifest()
	if err != nil {
		return name.Digest{}, err
	}
	if m.Subject == nil {
		return name.Digest{}, diag.Errorf(diag.ReferenceInvalid, "", "attaching in %q: the manifest has no subject", repo)
	}
	h, err := img.Digest()
	if err != nil {
		return name.Digest{}, err
	}
	ref := repo.Digest(h.String())
	// The fallback tag is read, changed and written: one at a time.
	c.attaching.Lock()
	defer c.attaching.Unlock()
	listed, err := c.Referrers(ctx, repo.Digest(m.Subject.Digest.String()))
	if err != nil {
		return name.Digest{}, err
	}
	if slices.ContainsFunc(listed, func(l v1.Descriptor) bool { return l.Digest == h }) {
		return ref, c.Confirm(ctx, ref)
	}
	layers, err := img.Layers()
	if err != nil {
		return name.Digest{}, err
	}
	config, err := partial.ConfigLayer(img)
	if err != nil {
		return name.Digest{}, err
	}
	for _, l := range append(layers, config) {
		if err := c.again(ctx, func() error { return c.pusher.Upload(ctx, repo, l) }); err != nil {
			return name.Digest{}, fmt.Errorf("blob: %w", err)
		}
	}
	return ref, c.again(ctx, func() error { return c.pusher.Put(ctx, ref, img) })
}
