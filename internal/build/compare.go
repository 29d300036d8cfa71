package build

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"forge/internal/diag"
	"forge/internal/lock"
)

// Check compares an image with what the lock expects of it. A difference is
// diag.DigestDiffers and names the first layer that differs; where the store still has
// the expected layer, also the first file and what about it differs.
func (s *Store) Check(m *Image, want lock.Expected) error {
	if want.Manifest == m.Digest().String() {
		return nil
	}
	for i, l := range m.Layers {
		if i >= len(want.DiffIDs) || want.DiffIDs[i] != l.DiffID.String() {
			return s.layerDiffers(m, i, want)
		}
	}
	if len(want.DiffIDs) > len(m.Layers) {
		return differs(m, "it has %d layers, the lock expects %d", len(m.Layers), len(want.DiffIDs))
	}
	return differs(m, "every layer unpacks to what the lock expects, so only config, labels or the encoding differ: manifest %s, expected %s", m.Digest(), want.Manifest)
}

// CheckIndex compares the index digest with what the lock expects.
func (r *Result) CheckIndex(want lock.Expected) error {
	if want.Manifest == r.Digest().String() {
		return nil
	}
	return diag.Errorf(diag.DigestDiffers, "", "image %q: the index over %d platforms is %s, expected %s", r.Name, len(r.Images), r.Digest(), want.Manifest)
}

func differs(m *Image, format string, args ...any) error {
	return diag.Errorf(diag.DigestDiffers, "", "image %q for %s: %w", m.Name, m.Platform, fmt.Errorf(format, args...))
}

func (s *Store) layerDiffers(m *Image, i int, want lock.Expected) error {
	l := m.Layers[i]
	name := fmt.Sprintf("layer %d (%s%s)", i+1, l.Title, packageList(l.Packages))
	if i >= len(want.DiffIDs) {
		return differs(m, "%s is one more than the lock expects", name)
	}
	for _, encoding := range []string{Zstd, Gzip} {
		old, ok := s.Find(encoding, digest.Digest(want.DiffIDs[i]))
		if !ok {
			continue
		}
		what, err := firstDifference(s.BlobPath(old.Digest), l.Path, encoding, encodingOf(l.MediaType))
		if err != nil {
			return fmt.Errorf("comparing %s with the expected one: %w", name, err)
		}
		return differs(m, "%s differs first in %s: %s, expected %s", name, what, l.DiffID, want.DiffIDs[i])
	}
	return differs(m, "%s is the first that differs: %s, expected %s, which is no longer in the layer store", name, l.DiffID, want.DiffIDs[i])
}

func encodingOf(media string) string {
	if strings.HasSuffix(media, "+gzip") {
		return Gzip
	}
	return Zstd
}

// firstDifference names the first file of the new layer that the old one has not or
// has otherwise, or else the first one that the new layer lacks.
func firstDifference(oldPath, newPath, oldEncoding, newEncoding string) (string, error) {
	var old []pathState
	err := eachEntry(oldPath, oldEncoding, func(name, state string) bool {
		old = append(old, pathState{name, state})
		return true
	})
	if err != nil {
		return "", err
	}
	found, err := differsFrom(old, newPath, newEncoding)
	if err == nil && found == "" {
		found = "the order or framing of the archive, not in any file"
	}
	return found, err
}

// pathState is a path of a layer, as eachEntry names it, and all else about it.
type pathState struct{ name, state string }

// differsFrom names the first file of a layer that is not expected or is otherwise, or
// else the first one that it lacks; "" where it has just what is expected, once.
func differsFrom(expected []pathState, path, encoding string) (string, error) {
	want := map[string]string{}
	for _, e := range expected {
		want[e.name] = e.state
	}
	found := ""
	err := eachEntry(path, encoding, func(name, state string) bool {
		expected, ok := want[name]
		delete(want, name)
		switch {
		case !ok:
			found = fmt.Sprintf("/%s (not expected)", name)
		case expected != state:
			found = fmt.Sprintf("/%s (is %s, expected %s)", name, state, expected)
		}
		return found == ""
	})
	if err != nil || found != "" {
		return found, err
	}
	for _, e := range expected {
		if _, missing := want[e.name]; missing {
			return fmt.Sprintf("/%s (missing)", e.name), nil
		}
	}
	return "", nil
}

// eachEntry calls f with each entry's name and a line that says all else about it,
// until f returns false.
func eachEntry(path, encoding string, f func(name, state string) bool) error {
	return eachFile(path, encoding, func(h *tar.Header, content io.Reader) (bool, error) {
		d, err := digest.SHA256.FromReader(content)
		if err != nil {
			return false, err
		}
		return f(strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/"), entryState(h, d)), nil
	})
}

// eachFile calls f with each entry of a stored layer and its content, until f returns
// false.
func eachFile(path, encoding string, f func(*tar.Header, io.Reader) (more bool, err error)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	decoder, err := newDecoder(encoding, file)
	if err != nil {
		return err
	}
	defer decoder.Close()
	archive := tar.NewReader(decoder)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if more, err := f(h, archive); err != nil || !more {
			return err
		}
	}
}

func entryState(h *tar.Header, d digest.Digest) string {
	kind := map[byte]string{tar.TypeReg: "file", tar.TypeDir: "directory", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink"}[h.Typeflag]
	if kind == "" {
		kind = fmt.Sprintf("entry of type %q", h.Typeflag)
	}
	s := fmt.Sprintf("a %s, mode %04o, owner %d:%d, time %d", kind, h.Mode, h.Uid, h.Gid, h.ModTime.Unix())
	if h.Linkname != "" {
		s += " to " + h.Linkname
	}
	if h.Typeflag == tar.TypeReg {
		s += fmt.Sprintf(", %d bytes, %s", h.Size, d)
	}
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if k != "path" && k != "linkpath" { // the name's and target's long form
			s += fmt.Sprintf(", attribute %s=%q", k, h.PAXRecords[k])
		}
	}
	return s
}
