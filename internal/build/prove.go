package build

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/diag"
	"forge/internal/rootfs"
)

// Prove works out what every layer of an image must hold, from the listings of its
// packages (by the packages' SHA-256) and the template's files, and compares it with
// what the store holds, path by path: so an engine that gave anything else, or a store
// that was changed, is found out. A difference is diag.LayerDiffers and names the file.
func Prove(ctx context.Context, o Options, g *Graph, m *Image, listings map[string]*rootfs.Listing) error {
	in := newSource(g, o.Open)
	open := func(sha256 string) (rootfs.Input, error) {
		return in.ReaderAt(ctx, ocispecs.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, sha256)})
	}
	lower := &proved{at: map[string]Layer{}, read: map[string][]byte{}}
	for i, l := range m.Layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := expect(&g.Layers[i].Plan, listings, open, lower)
		if err != nil {
			return fmt.Errorf("image %q for %s: working out layer %d: %w", m.Name, m.Platform, i+1, err)
		}
		what, err := differsFrom(pathStates(entries), l.Path, encodingOf(l.MediaType))
		if err != nil {
			return diag.Errorf(diag.LayerDiffers, "", "image %q for %s: reading layer %d: %w", m.Name, m.Platform, i+1, err)
		}
		if what != "" {
			return diag.Errorf(diag.LayerDiffers, "", "image %q for %s: layer %d (%s) is not what its inputs give, first in %s", m.Name, m.Platform, i+1, l.Title, what)
		}
		lower.add(l, entries)
	}
	return nil
}

// expect gives the entries of a plan without laying anything out.
func expect(plan *rootfs.Plan, listings map[string]*rootfs.Listing, in rootfs.Inputs, lower *proved) ([]rootfs.Entry, error) {
	if plan.Finish != nil {
		return rootfs.Lay(plan, in, rootfs.NewMemory(lower.layers, lower.content), nowhere{}, 1)
	}
	var own []*rootfs.Listing
	for _, p := range plan.Packages {
		l, ok := listings[p.SHA256]
		if !ok || l.Package != p.Name || l.Arch != p.Arch {
			return nil, fmt.Errorf("no listing of package %q for %s", p.Name, p.Arch)
		}
		own = append(own, l)
	}
	return rootfs.Expect(plan, own)
}

// nowhere is the sink of a caller who wants the entries only.
type nowhere struct{}

func (nowhere) Put(int, *rootfs.Entry, io.Reader) error { return nil }
func (nowhere) Close([]rootfs.Entry) error              { return nil }

// pathStates says of entries what eachEntry says of the layer that holds them. Of the
// names of one file, the first one that a walk meets has the content.
func pathStates(entries []rootfs.Entry) []pathState {
	walked := slices.Clone(entries)
	slices.SortFunc(walked, func(a, b rootfs.Entry) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/"))
	})
	first := map[string]string{} // by the path that the others are hard links to
	var states []pathState
	for _, e := range walked {
		h := &tar.Header{Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, ModTime: time.Unix(e.MTime, 0), Size: e.Size}
		switch e.Type {
		case rootfs.TypeDirectory:
			h.Typeflag = tar.TypeDir
		case rootfs.TypeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
		default:
			h.Typeflag = tar.TypeReg
			file := e.Path
			if e.Type == rootfs.TypeHardlink {
				file = e.Target
			}
			if met, ok := first[file]; ok {
				h.Typeflag, h.Linkname = tar.TypeLink, met[1:]
			} else {
				first[file] = e.Path
			}
		}
		states = append(states, pathState{e.Path[1:], entryState(h, digest.NewDigestFromEncoded(digest.SHA256, e.SHA256))})
	}
	return states
}

// proved are the layers that were found to be as they must, lowest first.
type proved struct {
	layers [][]rootfs.Entry
	at     map[string]Layer  // the uppermost layer with a path
	read   map[string][]byte // small files beside those that were asked for
}

func (p *proved) add(l Layer, entries []rootfs.Entry) {
	p.layers = append(p.layers, entries)
	for _, e := range entries {
		p.at[e.Path] = l
	}
	clear(p.read)
}

// maxBeside bounds a file that is kept because another of its directory was asked for,
// in bytes: who asks for one certificate asks for all of them.
const maxBeside = 64 << 10

// content gives a file's content.
func (p *proved) content(e rootfs.Entry) ([]byte, error) {
	if data, ok := p.read[e.Path]; ok {
		return data, nil
	}
	layer, name := p.at[e.Path], e.Path[1:]
	for range 2 { // a hard link's content stands under another name, which comes first
		var data []byte
		found, link := false, ""
		err := eachFile(layer.Path, encodingOf(layer.MediaType), func(h *tar.Header, content io.Reader) (bool, error) {
			if h.Name == name && h.Typeflag == tar.TypeLink {
				link = h.Linkname
				return false, nil
			}
			if h.Typeflag != tar.TypeReg || path.Dir(h.Name) != path.Dir(name) || h.Name != name && h.Size > maxBeside {
				return true, nil
			}
			read, err := io.ReadAll(content)
			p.read["/"+h.Name] = read
			if h.Name == name {
				found, data = true, read
			}
			return true, err
		})
		if err != nil || found {
			return data, err
		}
		name = link
	}
	return nil, fmt.Errorf("reading %q: no such file in the layers below", e.Path)
}
