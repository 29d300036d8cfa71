package evidence

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"forge/internal/debian/control"
	"forge/internal/diag"
)

// Bounds on reading an image's layers.
const (
	maxLayers   = 512
	maxUnpacked = 32 << 30  // bytes of all layers, packed and unpacked
	maxEntries  = 8_000_000 // tar entries of all layers
	maxStatus   = 16 << 20  // bytes of one dpkg status file
	maxStatuses = 64 << 20  // bytes of all of them
	maxWindow   = 128 << 20 // zstd window
)

// Where dpkg's records are: a file a package in distroless images, one file elsewhere.
const (
	statusDir  = "var/lib/dpkg/status.d"
	statusFile = "var/lib/dpkg/status"
)

// Package is one installed package, as dpkg's records in an image name it.
type Package struct {
	Name, Version, Arch string
}

func (p Package) String() string { return p.Name + " " + p.Version + " " + p.Arch }

// Layer opens a layer's bytes, whose digest is checked at their end.
type Layer func() (io.ReadCloser, error)

// Packages lists the packages that an image's layers hold, sorted. Layers are streamed
// within bounds, never written; whiteouts count; every layer is read to its end, so
// that its digest has been checked before anything from it is believed. Records that
// cannot be what dpkg or forge wrote give diag.SBOMDiffers.
func Packages(ctx context.Context, layers []Layer) ([]Package, error) {
	if len(layers) > maxLayers {
		return nil, diag.Errorf(diag.TooLarge, "", "the image has %d layers; at most %d are read", len(layers), maxLayers)
	}
	c := &contents{ctx: ctx, files: map[string][]byte{}, bytes: maxUnpacked, entries: maxEntries, status: maxStatuses}
	for i, l := range layers {
		if err := c.layer(l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return parseStatus(c.files)
}

// contents is dpkg's records as the layers read so far leave them.
type contents struct {
	ctx     context.Context
	files   map[string][]byte
	bytes   int64 // left
	entries int   // left
	status  int64 // left
}

func (c *contents) layer(open Layer) error {
	rc, err := open()
	if err != nil {
		return err
	}
	defer rc.Close()
	packed := bufio.NewReaderSize(rc, 64<<10)
	plain, done, err := decompress(packed)
	if err != nil {
		return err
	}
	defer done()
	bounded := &bound{ctx: c.ctx, r: plain, left: &c.bytes}
	if err := c.tar(bounded); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, &bound{ctx: c.ctx, r: packed, left: &c.bytes})
	return err
}

// decompress looks at the first bytes, since media types lie.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	magic, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// tar applies one layer: first what it hides of the layers below, then its own files.
func (c *contents) tar(r io.Reader) error {
	own := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if c.entries--; c.entries < 0 {
			return diag.Errorf(diag.TooLarge, "", "more than %d entries", maxEntries)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if err := c.entry(name, h, tr, own); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
	maps.Copy(c.files, own)
	return nil
}

func (c *contents) entry(name string, h *tar.Header, r io.Reader, own map[string][]byte) error {
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case base == ".wh..wh..opq":
		c.hide(dir, true)
		return nil
	case strings.HasPrefix(base, ".wh."):
		c.hide(path.Join(dir, strings.TrimPrefix(base, ".wh.")), false)
		return nil
	case isStatus(name) && h.Typeflag != tar.TypeReg:
		return diag.Errorf(diag.SBOMDiffers, "", "it is one of dpkg's records, and not a regular file")
	case h.Typeflag != tar.TypeDir && (name == statusDir || strings.HasPrefix(statusDir, name+"/")):
		return diag.Errorf(diag.SBOMDiffers, "", "it stands where dpkg's records are, and is not a directory")
	case !isStatus(name):
		return nil
	}
	if h.Size > maxStatus || h.Size > c.status {
		return diag.Errorf(diag.TooLarge, "", "%d bytes are more than is read", h.Size)
	}
	c.status -= h.Size
	data, err := io.ReadAll(r)
	own[name] = data
	return err
}

// isStatus reports whether a file is one of dpkg's records of packages.
func isStatus(name string) bool {
	return name == statusFile || path.Dir(name) == statusDir && !strings.HasSuffix(name, ".md5sums")
}

// hide takes away what lower layers have at a path and below it, or only below it.
func (c *contents) hide(name string, onlyBelow bool) {
	for f := range c.files {
		if strings.HasPrefix(f, name+"/") || name == "" || !onlyBelow && f == name {
			delete(c.files, f)
		}
	}
}

// bound counts bytes down over all layers, and stops when the context does.
type bound struct {
	ctx  context.Context
	r    io.Reader
	left *int64
}

func (b *bound) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, diag.Errorf(diag.TooLarge, "", "the layers unpack to more than %d bytes", int64(maxUnpacked))
	}
	return n, err
}

// parseStatus reads dpkg's records. In the one-file form only what is installed counts.
func parseStatus(files map[string][]byte) ([]Package, error) {
	var out []Package
	for _, name := range slices.Sorted(maps.Keys(files)) {
		r := control.NewReader(bytes.NewReader(files[name]), "Package", "Version", "Architecture", "Status")
		for {
			s, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, diag.Errorf(diag.SBOMDiffers, "", "reading /%s: %w", name, err)
			}
			p := Package{Name: s.Get("Package"), Version: s.Get("Version"), Arch: s.Get("Architecture")}
			if name == statusFile && !strings.HasSuffix(s.Get("Status"), " installed") {
				continue
			}
			if p.Name == "" || p.Version == "" || p.Arch == "" {
				return nil, diag.Errorf(diag.SBOMDiffers, "", "reading /%s: line %d: a package needs name, version and architecture", name, s.Line)
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, comparePackages)
	return slices.Compact(out), nil
}

func comparePackages(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Arch, b.Arch))
}
