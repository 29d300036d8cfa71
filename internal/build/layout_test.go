package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"forge/internal/diag"
)

// go-containerregistry's full validation reads gzip only; of zstd it checks all but the
// layers' content, which TestStoredLayerUnpacksToItsDiffID does.
func TestLayoutIsValid(t *testing.T) {
	for encoding, options := range map[string][]validate.Option{Gzip: nil, Zstd: {validate.Fast}} {
		r, dir := resultIn(t, openStore(t), encoding), filepath.Join(t.TempDir(), "out", "image")
		if err := r.WriteLayout(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		top, err := layout.ImageIndexFromPath(dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := top.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != r.Digest().String() {
			t.Fatalf("index.json names %v, want %s", m.Manifests, r.Digest())
		}
		index, err := top.ImageIndex(m.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index, options...); err != nil {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

// snapshot says of every file below dir its identity, time and content.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %v %s %x\n", path, info.ModTime(), info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestUnchangedLayoutIsNotRewritten(t *testing.T) {
	r, dir := result(t, openStore(t)), filepath.Join(t.TempDir(), "out")
	if err := r.WriteLayout(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteLayout(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("an equal layout was replaced")
	}
}

func TestLayoutIsReplacedWhole(t *testing.T) {
	s, dir := openStore(t), filepath.Join(t.TempDir(), "out")
	r := result(t, s)
	if err := r.WriteLayout(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	want := snapshot(t, dir)
	for name, spoil := range map[string]func() error{
		"cut index":    func() error { return os.WriteFile(filepath.Join(dir, "index.json"), nil, 0o644) },
		"missing blob": func() error { return os.Remove(filepath.Join(dir, blobFile(r.Digest()))) },
		"foreign file": func() error { return os.WriteFile(filepath.Join(dir, "foreign"), nil, 0o644) },
		"other layer": func() error {
			name := filepath.Join(dir, blobFile(r.Images[0].Layers[0].Digest))
			return errors.Join(os.Remove(name), os.WriteFile(name, make([]byte, r.Images[0].Layers[0].Size), 0o644))
		},
		"link to blob":  func() error { return relink(filepath.Join(dir, blobFile(r.Images[0].Digest()))) },
		"empty, exists": func() error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteLayout(t.Context(), dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := snapshot(t, dir); stripTimes(got) != stripTimes(want) {
			t.Errorf("%s: layout is\n%s\nwant\n%s", name, got, want)
		}
		wantOnly(t, filepath.Dir(dir), "out")
	}
}

func relink(path string) error {
	return errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path))
}

// stripTimes drops the times of documents, which are written anew.
func stripTimes(snapshot string) string {
	var lines []string
	for line := range strings.Lines(snapshot) {
		path, rest, _ := strings.Cut(line, " ")
		lines = append(lines, path+rest[strings.LastIndex(rest, " "):])
	}
	return strings.Join(lines, "")
}

func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("%s holds %v, want %v", dir, got, names)
	}
}

// What stands in the way stays as it is.
func TestOutputRefused(t *testing.T) {
	r := result(t, openStore(t))
	for _, test := range []struct {
		name  string
		make  func(path string) error
		write func(context.Context, string) error
	}{
		{"file for a directory", func(p string) error { return os.WriteFile(p, []byte("mine"), 0o644) }, r.WriteLayout},
		{"foreign directory", func(p string) error { return foreign(p, "thesis.txt", "mine") }, r.WriteLayout},
		{"oci-layout that is none", func(p string) error { return foreign(p, "oci-layout", "mine") }, r.WriteLayout},
		{"directory for a tar", func(p string) error { return foreign(p, "thesis.txt", "mine") }, r.WriteTar},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		if err := test.make(path); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, dir)
		if err := test.write(t.Context(), path); diag.IDOf(err) != diag.OutputInvalid {
			t.Errorf("%s: error %v, want %s", test.name, err, diag.OutputInvalid)
		}
		if after := snapshot(t, dir); after != before {
			t.Errorf("%s: was\n%sis\n%s", test.name, before, after)
		}
		wantOnly(t, dir, "out")
	}
}

func foreign(dir, name, content string) error {
	return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
}

// A fault or Ctrl-C midway leaves the former layout and nothing beside it.
func TestOutputFaultLeavesTheFormer(t *testing.T) {
	s := openStore(t)
	former, dir := result(t, s), t.TempDir()
	out, file := filepath.Join(dir, "out"), filepath.Join(dir, "out.tar")
	if err := errors.Join(former.WriteLayout(t.Context(), out), former.WriteTar(t.Context(), file)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)

	set, _ := family()
	l := receive(t, s, Zstd, tarOf(t, "new", "layer"), 512)
	m, err := Assemble(set.Image("base"), "linux/amd64", created, []Layer{l})
	if err != nil {
		t.Fatal(err)
	}
	next, err := Join([]*Image{m})
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, write := range []func(context.Context) error{
		func(ctx context.Context) error { return next.WriteLayout(ctx, out) },
		func(ctx context.Context) error { return next.WriteTar(ctx, file) },
	} {
		if err := write(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: error %v", err)
		}
	}
	if err := os.Remove(l.Path); err != nil { // a disk fault, as the writer sees it
		t.Fatal(err)
	}
	for _, write := range []func(context.Context) error{
		func(ctx context.Context) error { return next.WriteLayout(ctx, out) },
		func(ctx context.Context) error { return next.WriteTar(ctx, file) },
	} {
		if err := write(t.Context()); diag.IDOf(err) != diag.Disk {
			t.Errorf("layer gone: error %v, want %s", err, diag.Disk)
		}
	}
	if after := snapshot(t, dir); after != before {
		t.Errorf("was\n%sis\n%s", before, after)
	}
	wantOnly(t, dir, "out", "out.tar")
}

func TestTarIsTheLayout(t *testing.T) {
	r, dir := result(t, openStore(t)), t.TempDir()
	out := filepath.Join(dir, "out")
	if err := r.WriteLayout(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	var tars [][]byte
	for _, name := range []string{"a.tar", "b.tar"} {
		if err := r.WriteTar(t.Context(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		tars = append(tars, data)
	}
	if !bytes.Equal(tars[0], tars[1]) {
		t.Error("two tars of one result differ")
	}
	archive, n := tar.NewReader(bytes.NewReader(tars[0])), 0
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		got, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(out, h.Name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from the layout's (%v)", h.Name, err)
		}
	}
	wantFiles(t, out, n)
}

// program stands in for docker: it keeps its input, or fails with a message.
func program(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestLoadStreamsOnePlatform(t *testing.T) {
	r, out := result(t, openStore(t)), filepath.Join(t.TempDir(), "stream")
	program(t, `test "$1" = load && exec cat > `+out)
	if err := r.Load(t.Context(), "docker", "linux/amd64", "example.com/static:13.1.0"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for archive := tar.NewReader(f); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "manifest.json" {
			golden(t, "docker-manifest.json", indent(t, data))
		}
		names = append(names, h.Name)
	}
	if !slices.IsSorted(names) || len(names) != 7 { // two layers, config, manifest; three documents
		t.Errorf("the stream holds %v", names)
	}
}

func TestLoadFaults(t *testing.T) {
	r := result(t, openStore(t))
	program(t, `echo "no daemon here" >&2; exit 7`)
	err := r.Load(t.Context(), "docker", "linux/amd64", "static:1")
	if diag.IDOf(err) != diag.BuildFailed || !strings.Contains(err.Error(), "no daemon here") {
		t.Errorf("failing program: %v", err)
	}
	if err := r.Load(t.Context(), "docker", "linux/s390x", "static:1"); diag.IDOf(err) != diag.Usage {
		t.Errorf("platform not built: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := r.Load(t.Context(), "docker", "linux/amd64", "static:1"); diag.IDOf(err) != diag.BuildFailed {
		t.Errorf("no program: %v", err)
	}
}
