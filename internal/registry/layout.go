package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"

	"forge/internal/diag"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Layout is an OCI image layout with one image or index, in a directory or a tar file.
// Everything read from it is verified against its digest, and symbolic links and other
// special files in it are refused.
type Layout struct {
	Root v1.Descriptor // the image or index
	path string
	root *os.Root         // of a directory
	file *os.File         // of a tar
	at   map[string]piece // of a tar: where each file is
}

// piece is a stretch of a tar file.
type piece struct{ offset, size int64 }

// OpenLayout opens the layout at a path. Close it after use.
func OpenLayout(name string) (*Layout, error) {
	l := &Layout{path: name}
	if err := l.open(); err != nil {
		l.Close()
		return nil, diag.Errorf(diag.ReferenceInvalid, "Name a directory or tar file that holds an OCI layout.",
			"opening OCI layout %q: %w", name, err)
	}
	return l, nil
}

// Close releases the layout's files.
func (l *Layout) Close() error {
	if l.root != nil {
		return l.root.Close()
	}
	if l.file != nil {
		return l.file.Close()
	}
	return nil
}

func (l *Layout) open() error {
	info, err := os.Stat(l.path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		l.root, err = os.OpenRoot(l.path)
	} else {
		err = l.scan()
	}
	if err != nil {
		return err
	}
	rc, size, err := l.entry("index.json")
	if err != nil {
		return err
	}
	defer rc.Close()
	if size > maxManifest {
		return fmt.Errorf("index.json has %d bytes", size)
	}
	var idx v1.IndexManifest
	if err := json.NewDecoder(rc).Decode(&idx); err != nil {
		return fmt.Errorf("reading index.json: %w", err)
	}
	if len(idx.Manifests) != 1 {
		return fmt.Errorf("index.json names %d images, not one", len(idx.Manifests))
	}
	l.Root = idx.Manifests[0]
	return nil
}

// scan notes where each regular file of the tar lies.
func (l *Layout) scan() error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	l.file, l.at = f, map[string]piece{}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if _, ok := l.at[name]; ok || len(l.at) > 4*maxLayers {
			return fmt.Errorf("the tar has %q twice or too many files", name)
		}
		l.at[name] = piece{offset, h.Size}
	}
}

// entry opens a regular file of the layout.
func (l *Layout) entry(name string) (io.ReadCloser, int64, error) {
	if l.root == nil {
		p, ok := l.at[name]
		if !ok {
			return nil, 0, fmt.Errorf("%q: %w", name, os.ErrNotExist)
		}
		return io.NopCloser(io.NewSectionReader(l.file, p.offset, p.size)), p.size, nil
	}
	info, err := l.root.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%w: %q is not a regular file", errContent, name)
	}
	f, err := l.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (l *Layout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	rc, size, err := l.entry("blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex)
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		rc.Close()
		return nil, fmt.Errorf("%w: blob %s has %d bytes, its descriptor says %d", errContent, d.Digest, size, d.Size)
	}
	return verify(rc, d), nil
}

func (l *Layout) manifest(ctx context.Context, h v1.Hash) ([]byte, types.MediaType, error) {
	rc, size, err := l.entry("blobs/" + h.Algorithm + "/" + h.Hex)
	if err != nil {
		return nil, "", err
	}
	defer rc.Close()
	if size > maxManifest {
		return nil, "", fmt.Errorf("%w: manifest %s has %d bytes", errContent, h, size)
	}
	var raw bytes.Buffer
	_, err = raw.ReadFrom(verify(rc, v1.Descriptor{Digest: h, Size: size}))
	return raw.Bytes(), "", err
}
