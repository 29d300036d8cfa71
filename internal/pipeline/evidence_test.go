package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"forge/internal/build"
	"forge/internal/lock"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// TestFoldedFieldsCountWhole gives a control file whose relations go over lines, as
// some in Debian do.
func TestFoldedFieldsCountWhole(t *testing.T) {
	paragraph := []byte("Package: a\nVersion: 1\nMaintainer: A Person\n <a@example.org>\n" +
		"Pre-Depends: dpkg (>= 1.17),\n init-system-helpers\nDepends: libc6 (>= 2.14),\n zlib1g\n  | zlib-ng,\n\tlast\n" +
		"Provides: x (= 1),\n y\nReplaces: old,\n b (<< 2)\nHomepage: https://a.example/\nDescription: synopsis\n more of it\n")
	got := describe(lock.Package{Name: "a"}, &contents{Listing: &rootfs.Listing{Control: paragraph}}, nil)
	for _, f := range []struct{ name, got, want string }{
		{"Pre-Depends", got.Depends[0], "dpkg (>= 1.17), init-system-helpers"},
		{"Depends", got.Depends[1], "libc6 (>= 2.14), zlib1g | zlib-ng, last"},
		{"Provides", got.Provides, "x (= 1), y"},
		{"Maintainer", got.Maintainer, "A Person <a@example.org>"},
		{"Homepage", got.Homepage, "https://a.example/"},
		{"Description", got.Description, "synopsis\n more of it"},
	} {
		if f.got != f.want {
			t.Errorf("%s is %q, want %q", f.name, f.got, f.want)
		}
	}
	by := &rootfs.Listing{Control: paragraph}
	if !replaces(by, &rootfs.Listing{Package: "b", Version: "1"}) || replaces(by, &rootfs.Listing{Package: "b", Version: "2"}) {
		t.Error("the second line of Replaces is not read")
	}
}

// world is a directory of templates, locked, whose packages have been read: app extends
// static, other stands beside them.
func world(t *testing.T) *builder {
	t.Helper()
	platforms := []string{"linux/amd64", "linux/arm64"}
	b := &builder{
		host:    &Host{Cache: t.TempDir(), Version: "0.1.0"},
		version: "v0.33.1",
		set: &spec.Set{Images: []spec.Image{
			{Name: "other", Version: "1", Platforms: platforms}, {Name: "static", Version: "1", Platforms: platforms},
			{Name: "app", Version: "1", Parent: "static", Platforms: platforms},
		}},
		lock: &lock.File{
			Version: lock.FormatVersion, Layout: lock.LayoutVersion, Variables: map[string]string{"suite": `"trixie"`},
			Releases: []lock.Release{
				{Archive: "another", Suite: "stable", Version: "99", SHA256: sumOf("another")},
				{Archive: "debian", Suite: "trixie", Version: "13.7", SHA256: sumOf("trixie")},
			},
		},
		effects: map[string][]spec.Effect{},
	}
	for _, m := range b.set.Images {
		for _, platform := range platforms {
			p := lock.Package{Name: m.Name + "-data", Version: "1", Arch: filepath.Base(platform), Source: m.Name, SourceVersion: "1",
				Archive: "debian", Suite: "trixie", Path: "pool/" + m.Name + ".deb", Size: 1, SHA256: sumOf(m.Name + platform)}
			if m.Name == "other" {
				p.Archive, p.Suite = "another", "stable"
			}
			b.lock.Images = append(b.lock.Images, lock.Image{Name: m.Name, Platform: platform, Parent: m.Parent, Groups: 1,
				Created: "2026-09-12T07:55:41Z", Packages: []lock.Package{p}})
			record := &contents{Listing: &rootfs.Listing{Package: p.Name, Control: []byte("Package: " + p.Name + "\n")}}
			if err := writeRecord(filepath.Join(b.host.Cache, "packages", contentsVersion, "contents", p.SHA256+".json"), record); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// told is what a builder says of one template, after building those named.
func told(t *testing.T, b *builder, name string, built ...string) []string {
	t.Helper()
	for _, n := range built {
		for _, m := range b.set.Lineage(n) {
			for _, platform := range m.Platforms {
				for _, p := range b.lock.Find(m.Name, platform).Packages {
					b.effects[p.SHA256] = []spec.Effect{{Op: "note", Content: p.Name}}
				}
			}
		}
	}
	img := b.set.Image(name)
	r := &build.Result{Name: name, Version: img.Version}
	for _, platform := range img.Platforms {
		m, err := build.Assemble(img, platform, time.Unix(1_700_000_000, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Images = append(r.Images, m)
	}
	images, index, err := b.evidenceOf(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{string(index.Provenance)}
	for _, e := range images {
		out = append(out, string(e.SBOM), string(e.Provenance))
	}
	return out
}

// TestEvidenceIsOfOneImageAlone holds evidence to what goes into its image: publishing
// a template alone or with others, or beside other pins, gives the same bytes.
func TestEvidenceIsOfOneImageAlone(t *testing.T) {
	alone := told(t, world(t), "app", "app")
	if diff := cmp.Diff(alone, told(t, world(t), "app", "other", "static", "app")); diff != "" {
		t.Errorf("building all together changes the evidence:\n%s", diff)
	}
	for name, c := range map[string]struct {
		change func(*lock.File)
		moves  bool
	}{
		"own pin":                {func(f *lock.File) { f.Find("app", "linux/amd64").Groups = 2 }, true},
		"parent's pin":           {func(f *lock.File) { f.Find("static", "linux/amd64").Groups = 2 }, true},
		"other template's pin":   {func(f *lock.File) { f.Find("other", "linux/amd64").Groups = 2 }, false},
		"other archive's point":  {func(f *lock.File) { f.Releases[0].Version = "100" }, false},
		"other archive's file":   {func(f *lock.File) { f.Releases[0].SHA256 = sumOf("newer") }, false},
		"release of its archive": {func(f *lock.File) { f.Releases[1].SHA256 = sumOf("newer") }, true},
	} {
		b := world(t)
		c.change(b.lock)
		if moved := !cmp.Equal(alone, told(t, b, "app", "app")); moved != c.moves {
			t.Errorf("%s: the evidence changes: %t, want %t", name, moved, c.moves)
		}
	}
}
