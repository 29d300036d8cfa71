package archive

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"forge/internal/archive/fetch"
	"forge/internal/archive/release"
	"forge/internal/diag"
	"forge/internal/lock"
)

// index is one package index: what the release says about it, and the form of it to
// download.
type index struct {
	lock.Index
	suite, component, arch string
	packed                 release.File // the compressed file
	ext                    string       // its ending: ".xz", ".gz" or ""
	byHash                 bool
}

// findIndex looks an index up in a release. Both its plain and its packed form must be
// listed, so that both are checked.
func findIndex(r *release.Release, suite, component, arch string) (index, error) {
	name := path.Join(component, "binary-"+arch, "Packages")
	plain, ok, err := r.File(name)
	if err != nil {
		return index{}, err
	}
	if !ok {
		return index{}, diag.Errorf(diag.MalformedIndex, "Check `components` and `platforms` in the template.", "the release file lists no %s", name)
	}
	x := index{
		Index: lock.Index{Path: name, Size: plain.Size, SHA256: plain.SHA256},
		suite: suite, component: component, arch: arch, packed: plain, byHash: r.ByHash,
	}
	for _, ext := range []string{".xz", ".gz"} {
		f, ok, err := r.File(name + ext)
		if err != nil {
			return index{}, err
		}
		if ok {
			x.packed, x.ext = f, ext
			break
		}
	}
	return x, nil
}

// urls lists where the packed index may be: by its hash first, which stays right while
// a mirror is being updated.
func (x index) urls(roots []string) []string {
	var all []string
	name := path.Join("dists", x.suite, x.Path+x.ext)
	for _, root := range roots {
		if x.byHash {
			all = append(all, fileURL(root, path.Join(path.Dir(name), "by-hash/SHA256", x.packed.SHA256)))
		}
		all = append(all, fileURL(root, name))
	}
	return all
}

// fetchIndexes brings every index of the suites into the cache.
func (c *Client) fetchIndexes(ctx context.Context, suites []Suite) error {
	type job struct {
		roots []string
		where string
		index
	}
	var jobs []job
	for _, s := range suites {
		for _, x := range s.indexes {
			jobs = append(jobs, job{s.roots, s.Archive + " " + s.Suite, x})
		}
	}
	return each(ctx, c, jobs, func(ctx context.Context, j job) (Progress, error) {
		if err := c.fetchIndex(ctx, j.index, j.roots); err != nil {
			return Progress{}, fmt.Errorf("%s: index %s: %w", j.where, j.Path, err)
		}
		return Progress{Name: j.where + " " + j.Path, Size: j.packed.Size}, nil
	})
}

func (c *Client) fetchIndex(ctx context.Context, x index, roots []string) error {
	if _, err := os.Stat(c.cache.File(indexFile(x.SHA256))); err == nil {
		return nil // whether it is whole is found out when it is read
	}
	var first error
	for _, u := range x.urls(roots) {
		err := c.cache.Temp(func(packed *os.File) error {
			if err := c.http.Get(ctx, u, x.packedWant(), packed); err != nil {
				return err
			}
			return c.storeIndex(x, packed)
		})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if first == nil || errors.Is(first, fetch.ErrNotFound) {
			first = err
		}
	}
	return first
}

func (x index) packedWant() fetch.Want {
	return fetch.Want{SHA256: x.packed.SHA256, Size: x.packed.Size}
}

// indexFile is an index's name in the cache: by the hash of its plain form, kept as
// zstd, which is read ten times faster than xz.
func indexFile(sum string) string { return filepath.Join("indexes", sum+".zst") }

// storeIndex unpacks a downloaded index into the cache, when it is what the release
// file says inside, too.
func (c *Client) storeIndex(x index, packed *os.File) error {
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return diag.Errorf(diag.Disk, "", "reading a downloaded index: %w", err)
	}
	return c.cache.Write(indexFile(x.SHA256), func(f *os.File) error {
		plain, err := unpack(packed, x.ext)
		if err != nil {
			return diag.Errorf(diag.MalformedIndex, "", "unpacking: %w", err)
		}
		w, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if err := copyExactly(w, plain, x.Index); err != nil {
			return err
		}
		return w.Close()
	})
}

func unpack(r io.Reader, ext string) (io.Reader, error) {
	switch ext {
	case ".xz":
		return xz.NewReader(r, xz.DefaultDictMax)
	case ".gz":
		return gzip.NewReader(r)
	}
	return r, nil
}

// copyExactly copies a plain index, never more than it should have.
func copyExactly(w io.Writer, r io.Reader, x lock.Index) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, x.Size+1))
	if err != nil {
		return diag.Errorf(diag.MalformedIndex, "", "unpacking: %w", err)
	}
	return checkPlain(x, n, h.Sum(nil))
}

func checkPlain(x lock.Index, n int64, sum []byte) error {
	if n > x.Size {
		return diag.Errorf(diag.HashMismatch, "", "unpacked, it has more than the %d bytes it should have", x.Size)
	}
	if got := hex.EncodeToString(sum); n != x.Size || got != x.SHA256 {
		return diag.Errorf(diag.HashMismatch, "", "unpacked, it has %d bytes and the SHA-256 %s, it should have %d and %s", n, got, x.Size, x.SHA256)
	}
	return nil
}

// errTorn says that a file of the cache was not what its name says, and is removed.
var errTorn = errors.New("the cached index was damaged")

// readIndex gives an index of the cache to use. What use made of it counts only when
// readIndex gives no error, since the hash is known at the end.
func (c *Client) readIndex(x lock.Index, use func(io.Reader) error) error {
	name := c.cache.File(indexFile(x.SHA256))
	f, err := os.Open(name)
	if err != nil {
		return errTorn
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return err
	}
	defer z.Close()
	h := sha256.New()
	counted := &counter{r: io.TeeReader(io.LimitReader(z, x.Size+1), h)}
	useErr := use(counted)
	_, err = io.Copy(io.Discard, counted)
	if err != nil || checkPlain(x, counted.n, h.Sum(nil)) != nil {
		os.Remove(name) // it is fetched again
		return errTorn
	}
	return useErr
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// cached reads a verified blob.
func (c *Client) cached(sum string) ([]byte, error) {
	data, err := os.ReadFile(c.cache.Path(sum))
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading the cache: %w", err)
	}
	return data, nil
}

func lockTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
