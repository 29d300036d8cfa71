package registry

import (
	"context"
	"math/rand"
	"strings"
	"testing"
	"time"

	"forge/internal/diag"
	"forge/internal/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ggcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// start runs a registry and a client of it that never really sleeps.
func start(t *testing.T, opt registrytest.Options) (*registrytest.Registry, *Client) {
	t.Helper()
	r := registrytest.New(opt)
	t.Cleanup(r.Close)
	return r, newClient(t, Options{})
}

func newClient(t *testing.T, opt Options) *Client {
	t.Helper()
	if opt.Keychain == nil {
		opt.Keychain = authn.NewMultiKeychain()
	}
	if opt.Sleep == nil {
		opt.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func repoOf(t *testing.T, c *Client, r *registrytest.Registry, path string) name.Repository {
	t.Helper()
	repo, err := c.Repository(r.Host() + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// sample is an index of two platforms with n layers each, always the same for a seed.
func sample(t *testing.T, seed int64, n int64) v1.ImageIndex {
	t.Helper()
	var idx v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, arch := range []string{"amd64", "arm64"} {
		img, err := random.Image(2000, n, random.WithSource(rand.NewSource(seed+int64(i))))
		if err != nil {
			t.Fatal(err)
		}
		img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return idx
}

// write puts an index into a layout and opens that.
func write(t *testing.T, idx v1.ImageIndex) *Layout {
	t.Helper()
	dir := t.TempDir()
	p, err := ggcrlayout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(idx); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestPushPutsEverythingByDigestAndConfirmReadsItBack(t *testing.T) {
	for _, opt := range []registrytest.Options{{}, {Referrers: true}, {NoDigestHeader: true}, {NoMount: true}, {User: "u", Password: "p"}} {
		r, c := start(t, opt)
		if opt.User != "" {
			c = newClient(t, Options{Keychain: static{opt.User, opt.Password}})
		}
		repo := repoOf(t, c, r, "golden/base")
		l := write(t, sample(t, 1, 3))
		var done, total int64
		d, err := c.Push(t.Context(), repo, l, PushOptions{Progress: func(a, b int64) { done, total = a, b }})
		if err != nil {
			t.Fatalf("%+v: %v", opt, err)
		}
		if done != total || total == 0 {
			t.Errorf("progress ends at %d of %d", done, total)
		}
		if d.DigestStr() != l.Root.Digest.String() {
			t.Errorf("Push = %s, want %s", d, l.Root.Digest)
		}
		if len(r.Tags("golden/base")) != 0 {
			t.Errorf("Push made a tag: %v", r.Tags("golden/base"))
		}
		if err := c.Confirm(t.Context(), d); err != nil {
			t.Errorf("%+v: Confirm: %v", opt, err)
		}
		if err := c.TagOnce(t.Context(), d, "1.0-abcdefabcdef"); err != nil {
			t.Errorf("%+v: TagOnce: %v", opt, err)
		}
		ref, _ := c.Reference(repo.Name() + ":1.0-abcdefabcdef")
		if got, err := c.Resolve(t.Context(), ref); err != nil || got.DigestStr() != d.DigestStr() {
			t.Errorf("%+v: Resolve = %v, %v, want %v", opt, got, err, d)
		}
	}
}

// static is a keychain with one login for every registry.
type static struct{ user, password string }

func (s static) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: s.user, Password: s.password}), nil
}

func TestSecondPushSendsNothing(t *testing.T) {
	r, c := start(t, registrytest.Options{})
	repo := repoOf(t, c, r, "app")
	l := write(t, sample(t, 1, 3))
	if _, err := c.Push(t.Context(), repo, l, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Forget()
	if _, err := newClient(t, Options{}).Push(t.Context(), repo, l, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, q := range r.Requests() {
		if !strings.HasPrefix(q, "GET ") && !strings.HasPrefix(q, "HEAD ") {
			t.Errorf("second push sent %q", q)
		}
	}
}

func TestPushMountsTheParentsLayers(t *testing.T) {
	for _, noMount := range []bool{false, true} {
		r, c := start(t, registrytest.Options{NoMount: noMount})
		parent, child := repoOf(t, c, r, "golden/base"), repoOf(t, c, r, "golden/app")
		base := sample(t, 1, 3)
		if _, err := c.Push(t.Context(), parent, write(t, base), PushOptions{}); err != nil {
			t.Fatal(err)
		}
		r.Forget()
		if _, err := c.Push(t.Context(), child, write(t, base), PushOptions{Mount: []name.Repository{child, parent}}); err != nil {
			t.Fatal(err)
		}
		patches := 0
		for _, q := range r.Requests() {
			if strings.HasPrefix(q, "PATCH ") {
				patches++
			}
		}
		if (patches == 0) == noMount {
			t.Errorf("no mount %v: %d uploads", noMount, patches)
		}
		if got, want := strings.ReplaceAll(grep(r.State(), "golden/app"), "golden/app", "golden/base"), grep(r.State(), "golden/base"); got != want {
			t.Errorf("child:\n%s\nparent:\n%s", got, want)
		}
	}
}

func grep(text, part string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

func TestTagMovesAndTagOnceDoesNot(t *testing.T) {
	r, c := start(t, registrytest.Options{})
	repo := repoOf(t, c, r, "app")
	var pushed []name.Digest
	for seed := range int64(2) {
		d, err := c.Push(t.Context(), repo, write(t, sample(t, 100*seed, 1)), PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pushed = append(pushed, d)
	}
	for _, d := range pushed {
		if err := c.Tag(t.Context(), d, "1.0"); err != nil {
			t.Fatal(err)
		}
		if got := r.Tags("app")["1.0"]; got != d.DigestStr() {
			t.Errorf("tag is at %s, want %s", got, d)
		}
	}
	if err := c.TagOnce(t.Context(), pushed[0], "1.0-x"); err != nil {
		t.Fatal(err)
	}
	before := r.State()
	if err := c.TagOnce(t.Context(), pushed[1], "1.0-x"); diag.IDOf(err) != diag.RegistryRefused {
		t.Errorf("moving an immutable tag: %v", err)
	}
	if r.State() != before {
		t.Error("a refused tag changed the registry")
	}
	if err := c.TagOnce(t.Context(), pushed[0], "1.0-x"); err != nil {
		t.Errorf("tagging again: %v", err)
	}
}

func TestConfirmFindsALostBlobAndPushRestoresIt(t *testing.T) {
	r, c := start(t, registrytest.Options{})
	repo := repoOf(t, c, r, "app")
	l := write(t, sample(t, 1, 2))
	d, err := c.Push(t.Context(), repo, l, PushOptions{})
	must(t, err)
	set, err := collect(t.Context(), l, l.Root)
	must(t, err)
	for _, b := range set.blobs {
		r.Remove("app", b.Digest.String())
		check(t, c.Confirm(t.Context(), d), diag.ImageNotFound, "404")
		_, err := newClient(t, Options{}).Push(t.Context(), repo, l, PushOptions{})
		must(t, err)
		check(t, c.Confirm(t.Context(), d), "", "")
	}
}
