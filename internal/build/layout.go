package build

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"forge/internal/diag"
)

// layoutFile is one file of an OCI layout: its bytes, or a file of the store.
type layoutFile struct {
	name string // slash-separated, relative to the layout
	data []byte
	path string
	size int64
}

// files lists the OCI layout of the result.
func (r *Result) files() ([]layoutFile, error) {
	index := describe(ocispecs.MediaTypeImageIndex, r.Index)
	index.Annotations = map[string]string{ocispecs.AnnotationRefName: r.Version}
	files, err := layoutFiles(index, r.Images)
	return sortFiles(append(files, bytesFile(blobFile(index.Digest), r.Index))), err
}

// layoutFiles gives oci-layout, an index.json that names top, and the images' blobs.
func layoutFiles(top ocispecs.Descriptor, images []*Image) ([]layoutFile, error) {
	version, err := json.Marshal(ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion})
	if err != nil {
		return nil, fmt.Errorf("marshalling oci-layout: %w", err)
	}
	index, err := json.Marshal(ocispecs.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex,
		Manifests: []ocispecs.Descriptor{top},
	})
	if err != nil {
		return nil, fmt.Errorf("marshalling index.json: %w", err)
	}
	files := []layoutFile{bytesFile(ocispecs.ImageLayoutFile, version), bytesFile(ocispecs.ImageIndexFile, index)}
	for _, m := range images {
		files = append(files, bytesFile(blobFile(m.Digest()), m.Manifest), bytesFile(blobFile(digest.FromBytes(m.Config)), m.Config))
		for _, l := range m.Layers {
			files = append(files, layoutFile{name: blobFile(l.Digest), path: l.Path, size: l.Size})
		}
	}
	return files, nil
}

// sortFiles sorts by name and drops repetitions, which are equal since blobs' names
// are their digests.
func sortFiles(files []layoutFile) []layoutFile {
	slices.SortFunc(files, func(a, b layoutFile) int { return cmp.Compare(a.name, b.name) })
	return slices.CompactFunc(files, func(a, b layoutFile) bool { return a.name == b.name })
}

func bytesFile(name string, data []byte) layoutFile {
	return layoutFile{name: name, data: data, size: int64(len(data))}
}

func blobFile(d digest.Digest) string {
	return path.Join(ocispecs.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// WriteLayout makes dir an OCI layout that holds the result, tagged with its version,
// and nothing else. The directory appears or changes at once; where it holds the
// result already, nothing is written. What is there and is neither an OCI layout nor
// an empty directory stays, and is diag.OutputInvalid.
func (r *Result) WriteLayout(ctx context.Context, dir string) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	exists, err := replaceable(dir)
	if err != nil {
		return err
	}
	if exists && sameLayout(dir, files) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return diag.Errorf(diag.Disk, "", "writing the layout: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".forge-layout-*")
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing the layout: %w", err)
	}
	defer os.RemoveAll(tmp) // the new one after a fault, the old one after an exchange
	if err := fillLayout(ctx, tmp, files); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return diag.Errorf(diag.Disk, "", "writing the layout: %w", err)
	}
	return putInPlace(tmp, dir, exists)
}

// CheckOutput tells, before anything is built, whether a layout could be written to a
// directory or to a file that ends in .tar (or nowhere, for ""): diag.OutputInvalid where
// something else is.
func CheckOutput(name string) error {
	if name == "" {
		return nil
	}
	if strings.HasSuffix(name, ".tar") {
		return replaceableFile(name)
	}
	_, err := replaceable(name)
	return err
}

func replaceableFile(name string) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return diag.Errorf(diag.OutputInvalid, "", "writing %q: not a regular file", name)
	}
	return nil
}

// replaceable tells whether dir exists, and refuses what must not be replaced.
func replaceable(dir string) (exists bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, diag.Errorf(diag.OutputInvalid, "", "writing to %q: %w", dir, err)
	}
	if len(entries) == 0 {
		return true, nil
	}
	var layout ocispecs.ImageLayout
	data, err := os.ReadFile(filepath.Join(dir, ocispecs.ImageLayoutFile))
	if err != nil || json.Unmarshal(data, &layout) != nil || layout.Version == "" {
		return true, diag.Errorf(diag.OutputInvalid, "", "writing to %q: the directory is not empty and not an OCI layout", dir)
	}
	return true, nil
}

// sameLayout tells whether dir holds exactly these files.
func sameLayout(dir string, files []layoutFile) bool {
	n := 0
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil || n != len(files) {
		return false
	}
	for _, f := range files {
		if !f.same(filepath.Join(dir, filepath.FromSlash(f.name))) {
			return false
		}
	}
	return true
}

// same tells whether name is the file: the very one of the store, or one with its bytes.
func (f layoutFile) same(name string) bool {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != f.size {
		return false
	}
	if f.path != "" {
		if stored, err := os.Stat(f.path); err == nil && os.SameFile(stored, info) {
			return true
		}
	}
	in, err := os.Open(name)
	if err != nil {
		return false
	}
	defer in.Close()
	if f.path != "" {
		d, err := digest.SHA256.FromReader(in)
		return err == nil && d.Encoded() == path.Base(f.name)
	}
	data, err := io.ReadAll(io.LimitReader(in, f.size+1))
	return err == nil && bytes.Equal(data, f.data)
}

func fillLayout(ctx context.Context, dir string, files []layoutFile) error {
	blobs := filepath.Join(dir, ocispecs.ImageBlobsDir, digest.SHA256.String())
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // MkdirTemp's is 0700
		return err
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(f.name))
		if f.data == nil && os.Link(f.path, name) == nil {
			continue // a hard link costs nothing, and blobs are read-only
		}
		if err := f.writeTo(name); err != nil {
			return err
		}
	}
	return nil
}

func (f layoutFile) writeTo(name string) error {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.copyTo(out), out.Sync(), out.Close())
}

func (f layoutFile) copyTo(w io.Writer) error {
	if f.data != nil {
		_, err := w.Write(f.data)
		return err
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(w, in)
	if err == nil && n != f.size {
		err = fmt.Errorf("%q has %d bytes, want %d", f.path, n, f.size)
	}
	return err
}

// putInPlace swaps tmp and dir in one step, so that a reader sees the old layout or the
// new one. Where the file system cannot swap, there is none for a moment.
func putInPlace(tmp, dir string, exists bool) error {
	if !exists {
		if err := os.Rename(tmp, dir); err != nil {
			return diag.Errorf(diag.OutputInvalid, "", "putting the layout in place: %w", err)
		}
		return nil
	}
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return diag.Errorf(diag.OutputInvalid, "", "replacing %q: %w", dir, err)
	}
	old := tmp + ".old"
	if err := os.Rename(dir, old); err != nil {
		return diag.Errorf(diag.OutputInvalid, "", "replacing %q: %w", dir, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return errors.Join(diag.Errorf(diag.OutputInvalid, "", "replacing %q: %w", dir, err), os.Rename(old, dir))
	}
	return os.RemoveAll(old)
}

// WriteTar writes the layout as one tar file, the same bytes each time. The file
// appears at once; only a regular file is replaced, anything else is diag.OutputInvalid.
func (r *Result) WriteTar(ctx context.Context, name string) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	if err := replaceableFile(name); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return diag.Errorf(diag.Disk, "", "writing %q: %w", name, err)
	}
	tmp, err := os.CreateTemp(dir, ".forge-tar-*")
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing %q: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	err = errors.Join(writeTar(ctx, tmp, files), tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing %q: %w", name, err)
	}
	return nil
}

// writeTar writes files with no time, no owner and a fixed mode.
func writeTar(ctx context.Context, w io.Writer, files []layoutFile) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: f.size, Mode: 0o644, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if err := f.copyTo(t); err != nil {
			return err
		}
	}
	return t.Close()
}
