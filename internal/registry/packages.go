package registry

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// Bounds on looking through layers.
const (
	maxInspect  = 2 << 30   // compressed bytes of all layers of an image
	maxExpanded = 8 << 30   // uncompressed bytes of one layer
	maxWindow   = 128 << 20 // memory of a zstd frame
	maxStatus   = 32 << 20  // bytes of dpkg records in one layer
	maxEntries  = 4 << 20   // tar entries of one layer
)

// dpkg's records: one file for all packages, or one file each (as distroless and forge).
const (
	statusFile = "var/lib/dpkg/status"
	statusDir  = "var/lib/dpkg/status.d"
)

// records is what one layer says about packages.
type records struct {
	size  int64
	files map[string][]byte // statusFile, or a file of statusDir
	gone  []string          // paths that the layer removes from those below
}

// scanLayer reads a layer to its end, so that its digest and diffID are checked.
func scanLayer(ctx context.Context, src source, d v1.Descriptor, diffID string) (records, error) {
	rc, err := src.blob(ctx, d)
	if err != nil {
		return records{}, err
	}
	defer rc.Close()
	in := &noting{Reader: rc}
	plain, err := decompress(in)
	if in.err != nil {
		return records{}, in.err
	}
	if err != nil {
		return records{}, fmt.Errorf("%w: layer %s: %v", errContent, d.Digest, err)
	}
	defer plain.Close()
	sum := &counter{sum: sha256.New()}
	r := records{files: map[string][]byte{}}
	body := io.TeeReader(io.LimitReader(plain, maxExpanded+1), sum)
	err = r.readTar(tar.NewReader(body))
	if err == nil {
		// What follows the tar's end counts for the digests too.
		_, err = io.Copy(io.Discard, body)
	}
	if err == nil && sum.n <= maxExpanded {
		_, err = io.Copy(io.Discard, in)
	}
	switch {
	case sum.n > maxExpanded:
		return records{}, fmt.Errorf("%w: layer %s expands to more than %s", errContent, d.Digest, humanSize(maxExpanded))
	case in.err != nil:
		return records{}, in.err
	case err != nil:
		return records{}, fmt.Errorf("%w: layer %s: %v", errContent, d.Digest, err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.sum.Sum(nil)); got != diffID {
		return records{}, fmt.Errorf("%w: layer %s has the diffID %s, the config says %s", errContent, d.Digest, got, diffID)
	}
	r.size = sum.n
	return r, nil
}

// decompress tells the encoding by its first bytes, as runtimes do.
func decompress(rc io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReader(rc)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

func (r *records) readTar(tr *tar.Reader) error {
	kept := 0
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n > maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if dir, base := path.Split(name); strings.HasPrefix(base, ".wh.") {
			r.gone = append(r.gone, whiteout(dir, base))
			continue
		}
		if h.Typeflag != tar.TypeReg || !isRecord(name) {
			continue
		}
		if kept += int(min(h.Size, maxStatus+1)); kept > maxStatus {
			return fmt.Errorf("more than %d bytes of package records", maxStatus)
		}
		if r.files[name], err = io.ReadAll(tr); err != nil {
			return err
		}
	}
}

// whiteout is the path that a whiteout removes; an opaque directory gives "dir/".
func whiteout(dir, base string) string {
	if base == ".wh..wh..opq" {
		return dir
	}
	return dir + strings.TrimPrefix(base, ".wh.")
}

func isRecord(name string) bool {
	return name == statusFile || path.Dir(name) == statusDir && !strings.HasSuffix(name, ".md5sums")
}

// merge lays the layers' records over each other and reads what remains.
func merge(layers []records) []Package {
	files := map[string][]byte{}
	for _, l := range layers {
		for _, g := range l.gone {
			maps.DeleteFunc(files, func(name string, _ []byte) bool {
				return name == g || strings.HasPrefix(name, strings.TrimSuffix(g, "/")+"/")
			})
		}
		maps.Copy(files, l.files)
	}
	packages := []Package{}
	for _, data := range files {
		packages = append(packages, installed(data)...)
	}
	slices.SortFunc(packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Version, b.Version))
	})
	return slices.Compact(packages)
}

// installed reads the packages of dpkg records. A record without Status, as in
// status.d, counts as installed.
func installed(data []byte) []Package {
	var list []Package
	for _, text := range strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n\n") {
		var p Package
		status := ""
		for line := range strings.Lines(text) {
			key, value, ok := strings.Cut(line, ":")
			if !ok || strings.HasPrefix(line, " ") {
				continue
			}
			value = strings.TrimSpace(value)
			switch strings.ToLower(key) {
			case "package":
				p.Name = value
			case "version":
				p.Version = value
			case "architecture":
				p.Architecture = value
			case "status":
				status = value
			}
		}
		if p.Name != "" && (status == "" || strings.HasSuffix(status, " installed")) {
			list = append(list, p)
		}
	}
	return list
}

// noting remembers what went wrong in reading, so that a connection that was cut is
// told from content that ends early.
type noting struct {
	io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.Reader.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}

// counter hashes and counts.
type counter struct {
	sum hash.Hash
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.sum.Write(p)
}
