package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"

	"forge/internal/attest/evidence"
	"forge/internal/attest/key"
	"forge/internal/build"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/registry"
	"forge/internal/spec"
)

// PublishOptions say what to publish, where and signed by whom.
type PublishOptions struct {
	Prefix string          // HOST/PATH; the template's name follows
	Names  []string        // templates; none: all
	Key    *key.Private    // signs the evidence
	Format evidence.Format // forms of the evidence
}

// Published is one image that went out.
type Published struct {
	Name      string   `json:"name"`
	Reference string   `json:"reference"` // REPOSITORY@DIGEST of the index
	Tags      []string `json:"tags"`
	Platforms []string `json:"platforms"`
	Evidence  int      `json:"evidence_written"` // pieces written now; 0 when all was there
}

// Publish builds the named images and their evidence and brings them to a registry, in
// an order that leaves nothing half-done under a tag: the lock is chained anew to signed
// indexes; everything is built, and held to what packages and templates give; images go
// out by digest, evidence after them; both are verified from the registry; tags come
// last, parents before children. A rerun finishes what an interrupted run began and adds
// nothing to what is there.
func (h *Host) Publish(ctx context.Context, set *spec.Set, f *lock.File, o PublishOptions) ([]Published, error) {
	client, err := h.Registry()
	if err != nil {
		return nil, err
	}
	for _, m := range set.Images {
		if _, err := client.Repository(o.Prefix + "/" + m.Name); err != nil {
			return nil, err
		}
	}
	b, err := h.builder(ctx, set, f, o.Names)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := h.chain(ctx, set, f); err != nil {
		return nil, err
	}
	results, err := b.build(ctx, o.Names, nil)
	if err != nil {
		return nil, err
	}
	h.Note("comparing every file with the packages and the templates")
	if err := b.prove(ctx, results); err != nil {
		return nil, err
	}
	p := publisher{host: h, client: client, builder: b, options: o}
	for _, r := range results {
		if err := p.send(ctx, r); err != nil {
			return nil, fmt.Errorf("publishing %q: %w", r.Name, err)
		}
	}
	for i, r := range results {
		if err := p.tag(ctx, r, &p.out[i]); err != nil {
			return nil, fmt.Errorf("tagging %q: %w", r.Name, err)
		}
	}
	return p.out, nil
}

// chain checks that a lock says nothing but what signed indexes say, and of shared
// paths and dates what the packages themselves say.
func (h *Host) chain(ctx context.Context, set *spec.Set, f *lock.File) error {
	archives, err := h.archives()
	if err != nil {
		return err
	}
	h.Note("checking %d locked packages against signed indexes", countPackages(f))
	if err := archives.Chain(ctx, set, f); err != nil {
		return err
	}
	again := *f
	again.Images = slices.Clone(f.Images)
	if err := h.settle(ctx, archives, set, &again); err != nil {
		return err
	}
	for i, m := range f.Images {
		if s := again.Images[i]; m.Created != s.Created || !slices.Equal(m.Drops, s.Drops) || !slices.Equal(m.Restore, s.Restore) {
			return diag.Errorf(diag.LockUnchained, "", "image %q on %s: the lock's creation date, drops or restored directories are not what its packages give", m.Name, m.Platform)
		}
	}
	return nil
}

func countPackages(f *lock.File) int {
	seen := map[string]bool{}
	for _, m := range f.Images {
		for _, p := range m.Packages {
			seen[p.SHA256] = true
		}
	}
	return len(seen)
}

type publisher struct {
	host    *Host
	client  *registry.Client
	builder *builder
	options PublishOptions
	sent    []name.Repository // of images that went out before, which may hold the same layers
	out     []Published
}

// send brings one image and its evidence to the registry, under no tag, and verifies
// both from there.
func (p *publisher) send(ctx context.Context, r *build.Result) error {
	repo, err := p.client.Repository(p.options.Prefix + "/" + r.Name)
	if err != nil {
		return err
	}
	p.host.Note("%s: pushing %s to %s", r.Name, r.Digest(), repo)
	digest, err := p.push(ctx, repo, r)
	if err != nil {
		return err
	}
	p.host.Note("%s: signing and attaching evidence", r.Name)
	written, err := p.attach(ctx, digest, r)
	if err != nil {
		return err
	}
	p.host.Note("%s: verifying from the registry", r.Name)
	if err := p.client.Confirm(ctx, digest); err != nil {
		return err
	}
	_, err = evidence.Verify(ctx, digest, evidence.VerifyOptions{Registry: p.client, Keys: []*key.Public{&p.options.Key.Public}})
	if err != nil {
		return err
	}
	published := Published{Name: r.Name, Reference: digest.String(), Evidence: written}
	for _, m := range r.Images {
		published.Platforms = append(published.Platforms, m.Platform)
	}
	p.out = append(p.out, published)
	return nil
}

// push sends the image through a layout in the cache, whose blobs are links.
func (p *publisher) push(ctx context.Context, repo name.Repository, r *build.Result) (name.Digest, error) {
	dir, err := os.MkdirTemp(p.host.Cache, "publish-")
	if err != nil {
		return name.Digest{}, fmt.Errorf("making room for a layout: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, r.Name)
	if err := r.WriteLayout(ctx, path); err != nil {
		return name.Digest{}, err
	}
	layout, err := registry.OpenLayout(path)
	if err != nil {
		return name.Digest{}, err
	}
	defer layout.Close()
	digest, err := p.client.Push(ctx, repo, layout, registry.PushOptions{Mount: slices.Clone(p.sent)})
	if err == nil {
		p.sent = append(p.sent, repo)
	}
	return digest, err
}

// attach signs and writes the evidence: platforms first, the index last.
func (p *publisher) attach(ctx context.Context, index name.Digest, r *build.Result) (int, error) {
	images, ofIndex, err := p.builder.evidenceOf(ctx, r)
	if err != nil {
		return 0, err
	}
	o := evidence.AttachOptions{Registry: p.client, Key: p.options.Key, Format: p.options.Format}
	written := 0
	for i, m := range r.Images {
		n, err := evidence.Attach(ctx, index.Context().Digest(m.Digest().String()), images[i], o)
		if written += n; err != nil {
			return written, err
		}
	}
	n, err := evidence.Attach(ctx, index, ofIndex, o)
	return written + n, err
}

// tag points the tags at a published image: VERSION-DIGEST, which never moves, then
// VERSION.
func (p *publisher) tag(ctx context.Context, r *build.Result, out *Published) error {
	repo, err := p.client.Repository(p.options.Prefix + "/" + r.Name)
	if err != nil {
		return err
	}
	digest := repo.Digest(r.Digest().String())
	fixed := r.Version + "-" + r.Digest().Encoded()[:12]
	if err := p.client.TagOnce(ctx, digest, fixed); err != nil {
		return err
	}
	if err := p.client.Tag(ctx, digest, r.Version); err != nil {
		return err
	}
	out.Tags = []string{r.Version, fixed}
	return nil
}
