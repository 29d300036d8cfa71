package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"forge/internal/debian/deb"
	"forge/internal/diag"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// provable is an image as an engine builds it: hard links, names longer than a tar
// header holds, and effects that read the layers below.
func provable(t *testing.T) (o Options, g *Graph, m *Image, listings map[string]*rootfs.Listing) {
	t.Helper()
	p := pool{}
	in := realInput(t, p, "base", "linux/amd64")
	certificate := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	shared := "./usr/share/ca-certificates/"
	long := strings.Repeat("long", 30)
	pkg := &in.Lock.Images[0].Packages[0]
	data := func(w *tar.Writer) {
		for _, h := range []struct{ name, content, link string }{
			{shared + "b.crt", certificate, ""}, {shared + "a.crt", "", shared + "b.crt"},
			{shared + long + ".crt", certificate, ""},
		} {
			x := tar.Header{Name: h.name, Mode: 0o644, Size: int64(len(h.content)), ModTime: created, Format: tar.FormatGNU}
			if h.link != "" {
				x.Typeflag, x.Linkname = tar.TypeLink, h.link
			}
			if err := w.WriteHeader(&x); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, h.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	*pkg = p.addTar(t, pkg.Name, "amd64", data)
	effects := []spec.Effect{{Op: "ca-bundle"}, {Op: "copy", Path: "/etc/a", Target: "/usr/share/ca-certificates/b.crt"}}
	in.Effects = map[string][]spec.Effect{pkg.SHA256: effects}

	o = Options{Engine: startEngine(t), Store: openStore(t), Open: p.open}
	g = newGraph(t, in)
	results, err := Build(t.Context(), o, []*Graph{g})
	if err != nil {
		t.Fatal(err)
	}
	listings = map[string]*rootfs.Listing{}
	for d, path := range p {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		opened, err := deb.Open(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		if listings[d.Encoded()], err = rootfs.List(opened); err != nil {
			t.Fatal(err)
		}
	}
	return o, g, results[0].Images[0], listings
}

// What an engine slips into any layer is found, and named.
func TestProve(t *testing.T) {
	o, g, m, listings := provable(t)
	if err := Prove(t.Context(), o, g, m, listings); err != nil {
		t.Fatalf("the engine's own layers: %v", err)
	}
	type entry struct {
		tar.Header
		content []byte
	}
	for _, test := range []struct {
		name  string
		spoil func(e *entry) // done to the layer's first regular file
		extra *tar.Header
		says  string
	}{
		{"one bit", func(e *entry) { e.content[0] ^= 1 }, nil, "(is "},
		{"setuid", func(e *entry) { e.Mode |= 0o4000 }, nil, "mode 4"},
		{"owner", func(e *entry) { e.Uid = 65532 }, nil, "owner 65532:0"},
		{"capability", func(e *entry) { e.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"} }, nil, "attribute SCHILY.xattr.security.capability"},
		{"renamed", func(e *entry) { e.Name += ".bak" }, nil, ".bak (not expected)"},
		{"made a link", func(e *entry) { e.Typeflag, e.Linkname, e.Size, e.content = tar.TypeSymlink, "/x", 0, nil }, nil, "to /x"},
		{"extra file", func(*entry) {}, &tar.Header{Name: "etc/ld.so.preload", Mode: 0o644}, "/etc/ld.so.preload (not expected)"},
		{"whiteout", func(*entry) {}, &tar.Header{Name: "etc/.wh.passwd"}, "/etc/.wh.passwd (not expected)"},
		{"device", func(*entry) {}, &tar.Header{Name: "dev", Typeflag: tar.TypeChar}, "/dev (not expected)"},
	} {
		for i, l := range m.Layers {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			spoilt := false
			err := eachFile(l.Path, Zstd, func(h *tar.Header, content io.Reader) (bool, error) {
				data, err := io.ReadAll(content)
				if err != nil {
					return false, err
				}
				e := entry{*h, data}
				if !spoilt && h.Typeflag == tar.TypeReg && h.Size > 0 {
					test.spoil(&e)
					spoilt = true
				}
				e.Format = tar.FormatPAX
				return true, writeEntry(w, &e.Header, e.content)
			})
			if test.extra != nil && err == nil {
				err = writeEntry(w, test.extra, nil)
			}
			if err != nil || !spoilt {
				t.Fatalf("%s: spoiling layer %d: %v, %v", test.name, i+1, spoilt, err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			bad := *m
			bad.Layers = slices.Clone(m.Layers)
			bad.Layers[i].Path = receive(t, o.Store, Zstd, b.Bytes(), 1<<20).Path
			err = Prove(t.Context(), o, g, &bad, listings)
			if diag.IDOf(err) != diag.LayerDiffers || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), fmt.Sprintf("layer %d ", i+1)) {
				t.Errorf("%s in layer %d: error %v, want %s with %q", test.name, i+1, err, diag.LayerDiffers, test.says)
			}
		}
	}
}

func writeEntry(w *tar.Writer, h *tar.Header, content []byte) error {
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// A listing that is missing or another package's proves nothing.
func TestProveNeedsListings(t *testing.T) {
	in := realInput(t, pool{}, "static", "linux/amd64")
	g := newGraph(t, in)
	s := openStore(t)
	m := &Image{Layers: []Layer{receive(t, s, Zstd, tarOf(t, "a", "b"), 512)}}
	err := Prove(t.Context(), Options{Store: s}, g, m, map[string]*rootfs.Listing{digest.FromString("x").Encoded(): {}})
	if err == nil || !strings.Contains(err.Error(), "no listing of package") {
		t.Errorf("error %v, want one that names the package", err)
	}
}
