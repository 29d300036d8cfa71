package build

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/lock"
	"forge/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

var created = time.Date(2026, 11, 1, 12, 30, 0, 0, time.UTC)

// golden compares with a file of testdata, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// family is a parent with three packages and a child with one.
func family() (*spec.Set, *lock.File) {
	motd := []byte("welcome\n")
	static := spec.Image{
		Name: "static", Version: "13.1.0", Description: "No libc.", Platforms: []string{"linux/amd64"}, Compression: Zstd,
		Packages: spec.Packages{Prune: []string{"docs"}},
		Users:    []spec.User{{Name: "nonroot", UID: 65532, GID: 65532, Home: "/home/nonroot", Shell: "/sbin/nologin"}},
		Groups:   []spec.Group{{Name: "nonroot", GID: 65532}},
		Files:    []spec.File{{Path: "/etc/motd", Mode: "0644", SHA256: sha("welcome\n"), Size: 8, Content: motd}},
		Config: spec.Config{
			User: "65532", Workdir: "/home/nonroot",
			Env:   map[string]string{"PATH": "/usr/bin", "LANG": "C.UTF-8", "A": "1"},
			Ports: []string{"8080/tcp"}, Volumes: []string{"/data"},
			Labels: map[string]string{"org.opencontainers.image.vendor": "Example", "team": "platform"},
		},
	}
	base := spec.Image{
		Name: "base", Version: "13.1.0", Parent: "static", Platforms: []string{"linux/amd64"}, Compression: Zstd,
		Users: static.Users, Groups: static.Groups,
	}
	pkg := func(name string) lock.Package {
		return lock.Package{Name: name, Version: "1.0", Arch: "amd64", SHA256: sha(name)}
	}
	return &spec.Set{Images: []spec.Image{static, base}}, &lock.File{Images: []lock.Image{
		{Name: "base", Platform: "linux/amd64", Parent: "static", Created: "2026-11-01T12:30:00Z", Groups: 1, Packages: []lock.Package{pkg("libc6")}},
		{
			Name: "static", Platform: "linux/amd64", Created: "2026-10-30T00:00:00Z", Groups: 2,
			Drops:    []lock.Drop{{Package: "netbase", Path: "etc/services"}},
			Restore:  []lock.Restore{{Path: "/var/mail", Mode: "2775", GID: 8}},
			Packages: []lock.Package{pkg("base-files"), pkg("netbase"), pkg("tzdata")},
		},
	}}
}

func input(image string) Input {
	set, file := family()
	return Input{
		Set: set, Lock: file, Image: image, Platform: "linux/amd64", Engine: "linux/amd64", Helper: []byte("program"),
		Effects: map[string][]spec.Effect{sha("base-files"): {{Op: "dir", Path: "/var/mail", Mode: "2775", Owner: "0:8"}}},
	}
}

// tarOf is a layer with the given files, in order: name, content, name, content.
func tarOf(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fillTar(t, w, pairs...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fillTar(t *testing.T, w *tar.Writer, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), ModTime: created}
		if err := writeEntry(w, h, []byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
}

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// receive puts a layer into the store as an engine would, in writes of the given size.
func receive(t *testing.T, s *Store, encoding string, layer []byte, chunk int) Layer {
	t.Helper()
	d := digest.FromBytes(layer)
	w, err := newReceiver(s, "", encoding, 1).Writer(t.Context(), content.WithRef("layer-"+d.String()),
		content.WithDescriptor(ocispecs.Descriptor{Digest: d, Size: int64(len(layer))}))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for rest := layer; len(rest) > 0; {
		n := min(chunk, len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Commit(t.Context(), int64(len(layer)), d); err != nil {
		t.Fatal(err)
	}
	return stored(t, s, encoding, d)
}

func stored(t *testing.T, s *Store, encoding string, d digest.Digest) Layer {
	t.Helper()
	e, ok := s.Find(encoding, d)
	if !ok {
		t.Fatalf("the store has no %s layer %s", encoding, d)
	}
	return Layer{
		Title: "packages 1/1", Packages: []string{"netbase=1.0"}, MediaType: mediaType(encoding),
		Digest: e.Digest, Size: e.Size, DiffID: d, Path: s.BlobPath(e.Digest),
	}
}

// result is a two-platform image with real layers.
func result(t *testing.T, s *Store) *Result {
	t.Helper()
	return resultIn(t, s, Zstd)
}

func resultIn(t *testing.T, s *Store, encoding string) *Result {
	t.Helper()
	set, _ := family()
	shared := receive(t, s, encoding, tarOf(t, "etc/motd", "welcome\n"), 512)
	var images []*Image
	for _, p := range []string{"linux/arm64", "linux/amd64"} {
		own := receive(t, s, encoding, tarOf(t, "usr/bin/true", p), 512)
		m, err := Assemble(set.Image("static"), p, created, []Layer{shared, own})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, m)
	}
	r, err := Join(images)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
