package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"forge/internal/diag"
)

// staleAfter is the age at which a temporary file was surely left by a killed process.
const staleAfter = 24 * time.Hour

// Cache keeps files by the SHA-256 of their content, and what conditional requests
// need. Several processes may use one directory: files are written under names of
// their own and renamed. Nothing is synced to disk, because a file counts only after
// its hash was worked out anew, once in every process: a file torn by a crash or a
// failing disk is found then, removed, and downloaded again.
type Cache struct {
	dir      string
	verified sync.Map // sha256 -> true
}

// OpenCache opens, and makes where needed, the cache in a directory.
func OpenCache(dir string, now time.Time) (*Cache, error) {
	for _, d := range []string{"blobs/sha256", "answers", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, diag.Errorf(diag.Disk, "", "making the cache directory: %w", err)
		}
	}
	c := &Cache{dir: dir}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading the cache directory: %w", err)
	}
	for _, e := range left {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > staleAfter {
			os.Remove(filepath.Join(dir, "tmp", e.Name())) // another process may have been faster
		}
	}
	return c, nil
}

// Path is where content of that hash is kept, whether it is there or not.
func (c *Cache) Path(sum string) string {
	return filepath.Join(c.dir, "blobs", "sha256", sum)
}

// File is the path of a file that Write made.
func (c *Cache) File(name string) string { return filepath.Join(c.dir, name) }

// Has tells whether the content is there and whole. A file that is not what its name
// says is removed.
func (c *Cache) Has(sum string) bool {
	if !isSHA256(sum) {
		return false
	}
	if _, ok := c.verified.Load(sum); ok {
		_, err := os.Stat(c.Path(sum))
		return err == nil
	}
	f, err := os.Open(c.Path(sum))
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil || hex.EncodeToString(h.Sum(nil)) != sum {
		os.Remove(c.Path(sum)) // a second try follows from the network in any case
		return false
	}
	c.verified.Store(sum, true)
	return true
}

// Put keeps content whose hash is worked out here, and gives the hash.
func (c *Cache) Put(data []byte) (string, error) {
	raw := sha256.Sum256(data)
	sum := hex.EncodeToString(raw[:])
	if c.Has(sum) {
		return sum, nil
	}
	err := c.write(c.Path(sum), func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
	if err == nil {
		c.verified.Store(sum, true)
	}
	return sum, err
}

// Get gives the path of verified content: from the cache, else from the first of the
// URLs that has it. When every URL says that there is nothing, the error wraps
// ErrNotFound; otherwise the first other error is told.
func (c *Cache) Get(ctx context.Context, client *Client, want Want, urls ...string) (string, error) {
	if !isSHA256(want.SHA256) || want.Size < 0 {
		return "", diag.Errorf(diag.MalformedIndex, "", "%q is not a SHA-256", want.SHA256)
	}
	path := c.Path(want.SHA256)
	if c.Has(want.SHA256) {
		return path, nil
	}
	var first error
	for _, u := range urls {
		err := c.write(path, func(f *os.File) error { return client.Get(ctx, u, want, f) })
		if err == nil {
			c.verified.Store(want.SHA256, true)
			return path, nil
		}
		if ctx.Err() != nil || diag.IDOf(err) == diag.Disk {
			return "", err
		}
		if first == nil || errors.Is(first, ErrNotFound) && !errors.Is(err, ErrNotFound) {
			first = err
		}
	}
	return "", first
}

// Temp lends a file that nobody else has and that is gone afterwards.
func (c *Cache) Temp(use func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Join(c.dir, "tmp"), "*")
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing to the cache: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return use(f)
}

// Write makes a file, named relative to the cache's directory, by way of a temporary
// one: it is there whole or not at all.
func (c *Cache) Write(name string, fill func(*os.File) error) error {
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return diag.Errorf(diag.Disk, "", "writing to the cache: %w", err)
	}
	return c.write(path, fill)
}

func (c *Cache) write(path string, fill func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Join(c.dir, "tmp"), "*")
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing to the cache: %w", err)
	}
	defer os.Remove(f.Name())
	err = fill(f)
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil && diag.IDOf(err) == "" && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		err = diag.Errorf(diag.Disk, "", "writing to the cache: %w", err)
	}
	return err
}

// Answer is what a URL last gave that was accepted.
type Answer struct {
	Validator
	SHA256 string `json:"sha256"` // of the body, which is in the cache
}

// Answer gives the last accepted answer of a URL; zero when there is none, or its
// body is gone.
func (c *Cache) Answer(rawURL string) Answer {
	var a Answer
	data, err := os.ReadFile(c.answerPath(rawURL))
	if err != nil || json.Unmarshal(data, &a) != nil || !c.Has(a.SHA256) {
		return Answer{}
	}
	return a
}

// SetAnswer keeps an accepted answer.
func (c *Cache) SetAnswer(rawURL string, a Answer) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return c.write(c.answerPath(rawURL), func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// answerPath names the file after the URL's hash, so that no credential of a URL is
// in a file name.
func (c *Cache) answerPath(rawURL string) string {
	sum := sha256.Sum256([]byte(rawURL))
	return filepath.Join(c.dir, "answers", hex.EncodeToString(sum[:])+".json")
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
