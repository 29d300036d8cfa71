package engine

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// unsyncedStore is containerd's local content store with writers that never fsync and
// never resume: its content is a cache that does not survive a crash anyway.
type unsyncedStore struct {
	content.Store
	root string
	mu   sync.Mutex
	open map[string]*blobWriter // by reference
}

func newUnsyncedStore(root string) (content.Store, error) {
	s, err := local.NewStore(root)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{blobsName, "writing"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	return &unsyncedStore{Store: s, root: root, open: map[string]*blobWriter{}}, nil
}

func (s *unsyncedStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if o.Ref == "" {
		return nil, fmt.Errorf("opening a content writer: empty reference: %w", errdefs.ErrInvalidArgument)
	}
	if o.Desc.Digest != "" {
		if _, err := s.Info(ctx, o.Desc.Digest); err == nil {
			return nil, fmt.Errorf("content %v: %w", o.Desc.Digest, errdefs.ErrAlreadyExists)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[o.Ref] != nil {
		return nil, fmt.Errorf("reference %s is being written: %w", o.Ref, errdefs.ErrUnavailable)
	}
	f, err := os.CreateTemp(filepath.Join(s.root, "writing"), "")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	w := &blobWriter{s: s, f: f, hash: digest.Canonical.Hash(), status: content.Status{
		Ref: o.Ref, Total: o.Desc.Size, Expected: o.Desc.Digest, StartedAt: now, UpdatedAt: now,
	}}
	s.open[o.Ref] = w
	return w, nil
}

func (s *unsyncedStore) Status(_ context.Context, ref string) (content.Status, error) {
	s.mu.Lock()
	w := s.open[ref]
	s.mu.Unlock()
	if w == nil {
		return content.Status{}, fmt.Errorf("reference %s: %w", ref, errdefs.ErrNotFound)
	}
	return w.Status()
}

// ListStatuses lists all writes; filters, which only command line tools use, are not
// applied.
func (s *unsyncedStore) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []content.Status
	for _, w := range s.open {
		st, err := w.Status()
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	return all, nil
}

// Abort finds nothing to do: a writer that is closed without Commit leaves nothing.
func (s *unsyncedStore) Abort(_ context.Context, ref string) error {
	return fmt.Errorf("reference %s: %w", ref, errdefs.ErrNotFound)
}

type blobWriter struct {
	s      *unsyncedStore
	f      *os.File // nil once closed
	mu     sync.Mutex
	hash   hash.Hash
	status content.Status
}

func (w *blobWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.mu.Lock()
	w.status.Offset += int64(n)
	w.status.UpdatedAt = time.Now()
	w.mu.Unlock()
	return n, err
}

func (w *blobWriter) Digest() digest.Digest { return digest.NewDigest(digest.Canonical, w.hash) }

func (w *blobWriter) Status() (content.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status, nil
}

func (w *blobWriter) Truncate(size int64) error {
	if size != 0 {
		return fmt.Errorf("resuming a write: %w", errdefs.ErrNotImplemented)
	}
	if _, err := w.f.Seek(0, 0); err != nil {
		return err
	}
	w.hash.Reset()
	w.mu.Lock()
	w.status.Offset = 0
	w.mu.Unlock()
	return w.f.Truncate(0)
}

func (w *blobWriter) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	if w.f == nil {
		return fmt.Errorf("committing a closed writer: %w", errdefs.ErrFailedPrecondition)
	}
	defer w.Close()
	got := w.Digest()
	if size > 0 && size != w.status.Offset {
		return fmt.Errorf("content has %d bytes instead of %d: %w", w.status.Offset, size, errdefs.ErrFailedPrecondition)
	}
	if expected != "" && expected != got {
		return fmt.Errorf("content has digest %s instead of %s: %w", got, expected, errdefs.ErrFailedPrecondition)
	}
	if err := w.f.Chmod(0o444); err != nil {
		return err
	}
	target := filepath.Join(w.s.root, blobsName, got.Encoded())
	err := os.Link(w.f.Name(), target)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("content %v: %w", got, errdefs.ErrAlreadyExists)
	}
	return err
}

func (w *blobWriter) Close() error {
	if w.f == nil {
		return nil
	}
	w.s.mu.Lock()
	delete(w.s.open, w.status.Ref)
	w.s.mu.Unlock()
	f := w.f
	w.f = nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
