package build

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"

	"forge/internal/diag"
	"forge/internal/rootfs"
)

// Store keeps encoded layers in a directory, found by what they unpack to. Several
// processes may share it: every file appears whole, by rename, and never changes.
//
//	blobs/sha256/HEX     a layer, encoded
//	layers/zstd/HEX      the Encoded of the layer with that diffID, as JSON
type Store struct {
	dir string

	mu    sync.Mutex
	busy  map[digest.Digest]chan struct{} // layers being received by this process
	whole map[digest.Digest]bool          // blobs that this process has hashed
}

// Layer is one layer as it stands in an image.
type Layer struct {
	Title     string        // as in the graph
	Packages  []string      // "name=version", sorted; empty for a finish layer
	MediaType string        // OCI media type of the encoded blob
	Digest    digest.Digest // of the encoded blob
	Size      int64         // of the encoded blob, in bytes
	DiffID    digest.Digest // of the uncompressed tar
	Path      string        // the encoded blob's file, which must not be changed
	Inventory Encoded       // the layer program's account of the layer
}

// Encoded is a blob of the store.
type Encoded struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// storedTime is when every blob of the store was last modified, as its file says.
// Whoever changes a blob in place, perhaps through a layout that shares the file,
// moves it.
var storedTime = time.Unix(0, 0)

// OpenStore makes the directory where it is missing.
func OpenStore(dir string) (*Store, error) {
	for _, d := range []string{"blobs/sha256", "layers/zstd", "layers/gzip", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, diag.Errorf(diag.Disk, "", "making the layer store: %w", err)
		}
	}
	return &Store{dir: dir, busy: map[digest.Digest]chan struct{}{}, whole: map[digest.Digest]bool{}}, nil
}

// BlobPath is where an encoded blob lies, or would lie.
func (s *Store) BlobPath(d digest.Digest) string {
	return filepath.Join(s.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// Find looks up a layer by diffID and encoding. A record whose blob is missing or was
// changed is no record.
func (s *Store) Find(encoding string, diffID digest.Digest) (Encoded, bool) {
	data, err := os.ReadFile(s.recordPath(encoding, diffID))
	if err != nil {
		return Encoded{}, false
	}
	var e Encoded
	if json.Unmarshal(data, &e) != nil || e.Digest.Validate() != nil {
		return Encoded{}, false
	}
	info, err := os.Lstat(s.BlobPath(e.Digest))
	if err != nil || !info.Mode().IsRegular() || info.Size() != e.Size || !info.ModTime().Equal(storedTime) {
		return Encoded{}, false
	}
	return e, s.isWhole(e.Digest)
}

// isWhole tells whether a blob is what its name says, which a failing disk may have
// changed. A blob is hashed once a process.
func (s *Store) isWhole(d digest.Digest) bool {
	s.mu.Lock()
	known := s.whole[d]
	s.mu.Unlock()
	if known {
		return true
	}
	f, err := os.Open(s.BlobPath(d))
	if err != nil {
		return false
	}
	defer f.Close()
	got, err := d.Algorithm().FromReader(f)
	if err != nil || got != d {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole[d] = true
	return true
}

func (s *Store) recordPath(encoding string, diffID digest.Digest) string {
	return filepath.Join(s.dir, "layers", encoding, diffID.Encoded())
}

// keep puts a finished temporary file under its digest and records what it unpacks to.
// The record comes last, so that it never names a blob that is not there.
func (s *Store) keep(tmp *os.File, encoding string, diffID digest.Digest, e Encoded) error {
	if err := tmp.Chmod(0o444); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Chtimes(tmp.Name(), storedTime, storedTime); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), s.BlobPath(e.Digest)); err != nil {
		return err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return writeFile(s.recordPath(encoding, diffID), filepath.Join(s.dir, "tmp"), data, 0o444)
}

func (s *Store) temp() (*os.File, error) {
	return os.CreateTemp(filepath.Join(s.dir, "tmp"), "layer-*")
}

// writeFile makes path appear at once with all of data; tmpDir is on the same file system.
func writeFile(path, tmpDir string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(tmpDir, ".forge-*")
	if err != nil {
		return err
	}
	_, werr := tmp.Write(data)
	err = errors.Join(werr, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// maxInventory bounds an inventory, in bytes.
const maxInventory = 1 << 30

// Inventory reads the layout program's account of a layer: every path with its hash and
// the package or step it comes from.
func (s *Store) Inventory(l Layer) ([]rootfs.Entry, error) {
	f, err := os.Open(s.BlobPath(l.Inventory.Digest))
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading the inventory of %s: %w", l.Title, err)
	}
	defer f.Close()
	decoder, err := newDecoder(encodingOf(l.MediaType), f)
	if err != nil {
		return nil, fmt.Errorf("reading the inventory of %s: %w", l.Title, err)
	}
	defer decoder.Close()
	for archive := tar.NewReader(decoder); ; {
		h, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("reading the inventory of %s: %w", l.Title, err)
		}
		if h.Name == inventoryName {
			return rootfs.ReadInventory(io.LimitReader(archive, maxInventory))
		}
	}
}
