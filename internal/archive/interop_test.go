//go:build interop

package archive_test

import (
	"context"
	"os"
	"testing"
	"time"

	"forge/internal/archive"
	"forge/internal/archive/fetch"
	"forge/internal/archive/mirror"
	"forge/internal/spec"
)

// TestRealArchive resolves from the mirrors of this machine's own apt sources.
func TestRealArchive(t *testing.T) {
	keys, err := os.ReadFile("/usr/share/keyrings/debian-archive-keyring.gpg")
	if err != nil {
		t.Fatal(err)
	}
	keyring := spec.Keyring{Path: "debian-archive-keyring.gpg", Data: keys}
	set := &spec.Set{
		Archives: []spec.Archive{
			{Name: "debian", Kind: "deb", Suites: []string{"trixie", "trixie-updates"}, Components: []string{"main"}, Keyring: keyring},
			{Name: "debian-security", Kind: "deb", Suites: []string{"trixie-security"}, Components: []string{"main"}, Keyring: keyring},
		},
		Images: []spec.Image{{
			Name: "base", Platforms: []string{"linux/amd64", "linux/arm64"},
			Packages: spec.Packages{Archives: []string{"debian", "debian-security"}, Install: []string{"base-files", "libc6"}, Resolve: true},
		}, {
			Name: "python", Parent: "base", Platforms: []string{"linux/amd64", "linux/arm64"},
			Packages: spec.Packages{Archives: []string{"debian", "debian-security"}, Install: []string{"python3"}, Resolve: true},
		}},
	}
	table, err := mirror.Load(mirror.Options{Apt: os.DirFS("/etc/apt")})
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("FORGE_INTEROP_CACHE")
	if dir == "" {
		dir = t.TempDir()
	}
	client, err := archive.New(archive.Options{CacheDir: dir, Mirrors: table, Config: fetch.Config{}, Clock: fetch.Clock{Now: time.Now, Sleep: sleep}})
	if err != nil {
		t.Fatal(err)
	}
	step := func(name string, f func() error) {
		t.Helper()
		start := time.Now()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, time.Since(start).Round(time.Millisecond))
	}
	first, err := client.Resolve(t.Context(), set, archive.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	step("resolving again", func() error {
		_, err := client.Resolve(t.Context(), set, archive.ResolveOptions{Previous: first})
		return err
	})
	for _, m := range first.Images {
		t.Logf("%s %s: %d packages", m.Name, m.Platform, len(m.Packages))
		step("fetching", func() error { _, err := client.Packages(t.Context(), set, first, m.Packages); return err })
	}
	step("chaining", func() error { return client.Chain(t.Context(), set, first) })
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
