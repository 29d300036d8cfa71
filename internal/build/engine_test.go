package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"forge/internal/build/engine"
	"forge/internal/build/helper"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// The test program is also the engine it starts, as forge is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve-engine" {
		if err := engine.Serve(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startEngine gives a connection to an embedded engine with an empty cache.
func startEngine(t *testing.T) *client.Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := engine.Options{
		StateDir: filepath.Join(t.TempDir(), "engine"), Exe: exe, Args: []string{"serve-engine"},
		Env: os.Environ(), UID: os.Geteuid(), Version: "test",
	}
	e, err := engine.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := engine.Stop(context.Background(), o); err != nil {
			t.Errorf("stopping the engine: %v", err)
		}
	})
	c, err := engine.Dial(t.Context(), e.Address, engine.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pool holds package files by digest.
type pool map[digest.Digest]string

func (p pool) open(_ context.Context, d digest.Digest) (string, error) {
	path, ok := p[d]
	if !ok {
		return "", diag.Errorf(diag.PackageGone, "", "no package %s", d)
	}
	return path, nil
}

// add writes a package with the given files and gives its line of the lock.
func (p pool) add(t *testing.T, name, arch string, pairs ...string) lock.Package {
	t.Helper()
	return p.addTar(t, name, arch, func(w *tar.Writer) { fillTar(t, w, pairs...) })
}

// addTar does the same with the data archive that fill makes.
func (p pool) addTar(t *testing.T, name, arch string, fill func(*tar.Writer)) lock.Package {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	control := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: %s\nMaintainer: Example <e@example.com>\nDescription: test\n", name, arch)
	var deb bytes.Buffer
	deb.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar", tarOf(t, "./control", control)},
		{"data.tar", data.Bytes()},
	} {
		fmt.Fprintf(&deb, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		deb.Write(m.data)
		if len(m.data)%2 == 1 {
			deb.WriteByte('\n')
		}
	}
	return p.write(t, name, arch, deb.Bytes())
}

func (p pool) write(t *testing.T, name, arch string, deb []byte) lock.Package {
	t.Helper()
	sum := sha256.Sum256(deb)
	path := filepath.Join(t.TempDir(), name+".deb")
	if err := os.WriteFile(path, deb, 0o644); err != nil {
		t.Fatal(err)
	}
	p[digest.FromBytes(deb)] = path
	return lock.Package{Name: name, Version: "1.0", Arch: arch, Size: int64(len(deb)), SHA256: hex.EncodeToString(sum[:])}
}

// realInput is the family with packages that exist.
func realInput(t *testing.T, p pool, image, platform string) Input {
	t.Helper()
	_, goarch, _ := strings.Cut(platform, "/")
	set, file := family()
	for i := range file.Images {
		m := &file.Images[i]
		m.Platform, m.Drops = platform, nil
		for j, q := range m.Packages {
			m.Packages[j] = p.add(t, q.Name, goarch, "./usr/share/"+q.Name+"/data", strings.Repeat(q.Name, 1000))
		}
	}
	set.Images[0].Files = append(set.Images[0].Files, spec.File{Path: "/etc/empty", Mode: "0644", SHA256: sha("")})
	program, _, err := helper.Layout(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	return Input{Set: set, Lock: file, Image: image, Platform: platform, Engine: "linux/" + runtime.GOARCH, Helper: program}
}

func newGraph(t *testing.T, in Input) *Graph {
	t.Helper()
	g, err := NewGraph(in)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Two images on two platforms, at once: the child begins with its parent's layers, an
// engine and a store that know nothing give the same digests as those that know all.
func TestBuild(t *testing.T) {
	p := pool{}
	var graphs []*Graph
	for _, image := range []string{"static", "base"} {
		for _, platform := range []string{"linux/amd64", "linux/arm64"} {
			graphs = append(graphs, newGraph(t, realInput(t, p, image, platform)))
		}
	}
	o := Options{Engine: startEngine(t), Store: openStore(t), Open: p.open, Parallel: 4}
	first, err := Build(t.Context(), o, graphs)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 2 || len(first[0].Images) != 2 {
		t.Fatalf("%d results", len(first))
	}
	for i, m := range first[0].Images {
		child := first[1].Images[i]
		if len(m.Layers) != 3 || len(child.Layers) != 5 {
			t.Fatalf("%d and %d layers, want 3 and 5", len(m.Layers), len(child.Layers))
		}
		for j, l := range m.Layers {
			if child.Layers[j].Digest != l.Digest {
				t.Errorf("layer %d of the child is not its parent's", j+1)
			}
		}
		wantTree(t, o.Store, child)
	}
	unopened := func(context.Context, digest.Digest) (string, error) {
		return "", errors.New("a warm engine asked for a package")
	}
	for name, o := range map[string]Options{
		"warm engine, warm store": {Engine: o.Engine, Store: o.Store, Open: unopened},
		"warm engine, cold store": {Engine: o.Engine, Store: openStore(t), Open: unopened},
		"cold engine, warm store": {Engine: startEngine(t), Store: o.Store, Open: p.open},
	} {
		again, err := Build(t.Context(), o, graphs)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, r := range again {
			if r.Digest() != first[i].Digest() {
				t.Errorf("%s: %s is %s, was %s", name, r.Name, r.Digest(), first[i].Digest())
			}
		}
	}
}

// A gzip image has the layers of a zstd one, encoded otherwise, without any exec.
func TestBuildGzip(t *testing.T) {
	p := pool{}
	o := Options{Engine: startEngine(t), Store: openStore(t), Open: p.open}
	in := realInput(t, p, "static", "linux/amd64")
	var images []*Image
	for _, encoding := range []string{Zstd, Gzip} {
		in.Set.Images[0].Compression = encoding
		results, err := Build(t.Context(), o, []*Graph{newGraph(t, in)})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, results[0].Images...)
	}
	for i, l := range images[1].Layers {
		if l.DiffID != images[0].Layers[i].DiffID || !strings.HasSuffix(l.MediaType, "+gzip") {
			t.Errorf("layer %d is %s of %s, want gzip of %s", i+1, l.MediaType, l.DiffID, images[0].Layers[i].DiffID)
		}
	}
	wantTree(t, o.Store, images[1])
}

// wantTree compares every layer with its inventory and looks for some files.
func wantTree(t *testing.T, s *Store, m *Image) {
	t.Helper()
	found := map[string]bool{}
	for _, l := range m.Layers {
		entries, err := s.Inventory(l)
		if err != nil {
			t.Fatal(err)
		}
		inTar := map[string]bool{}
		err = eachEntry(l.Path, encodingOf(l.MediaType), func(name, _ string) bool {
			inTar["/"+name] = true
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		delete(inTar, "/") // the root directory
		for _, e := range entries {
			found[e.Path] = true
			if !inTar[e.Path] {
				t.Errorf("%s of the inventory is not in the layer", e.Path)
			}
			delete(inTar, e.Path)
		}
		for path := range inTar {
			t.Errorf("%s of the layer is not in the inventory", path)
		}
	}
	for _, path := range []string{"/etc/motd", "/etc/empty", "/etc/passwd", "/usr/share/tzdata/data", "/var/lib/dpkg/status.d/tzdata"} {
		if !found[path] {
			t.Errorf("the image has no %s", path)
		}
	}
}

func TestBuildFaults(t *testing.T) {
	p := pool{}
	o := Options{Engine: startEngine(t), Store: openStore(t), Open: p.open}
	for _, test := range []struct {
		name  string
		spoil func(*Input)
		id    diag.ID
		says  string
	}{
		{"package gone", func(in *Input) { in.Lock.Images[1].Packages[0].SHA256 = sha("gone") }, diag.PackageGone, "no package"},
		{"malformed package", func(in *Input) {
			in.Lock.Images[1].Packages[0] = p.write(t, "base-files", "amd64", []byte("no package at all"))
		}, diag.MalformedPackage, "base-files"},
		{"template's file in the way", func(in *Input) {
			in.Set.Images[0].Symlinks = []spec.Symlink{{Path: "/usr/share/tzdata/data", Target: "x"}}
		}, diag.FileConflict, "/usr/share/tzdata/data"},
	} {
		in := realInput(t, p, "static", "linux/amd64")
		test.spoil(&in)
		_, err := Build(t.Context(), o, []*Graph{newGraph(t, in)})
		if diag.IDOf(err) != test.id || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v (%s), want %s with %q", test.name, err, diag.IDOf(err), test.id, test.says)
		}
	}
	wantFiles(t, filepath.Join(o.Store.dir, "tmp"), 0)
}

func TestBuildStopsWithItsContext(t *testing.T) {
	p := pool{}
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{Engine: startEngine(t), Store: openStore(t), Open: func(ctx context.Context, _ digest.Digest) (string, error) {
		cancel() // while the engine waits for a package
		<-ctx.Done()
		return "", ctx.Err()
	}}
	if _, err := Build(ctx, o, []*Graph{newGraph(t, realInput(t, p, "static", "linux/amd64"))}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	wantFiles(t, o.Store.dir, 0)
}
