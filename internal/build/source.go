package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// source serves a graph's inputs to the engine, and nothing else. The engine asks for
// what it does not have yet, checks the digest, and keeps it.
type source struct {
	noStore
	blobs map[digest.Digest][]byte // known inputs; nil: in a file
	open  func(context.Context, digest.Digest) (string, error)

	mu  sync.Mutex
	err error // the first fault: the engine only passes on its text
}

func newSource(g *Graph, open func(context.Context, digest.Digest) (string, error)) *source {
	s := &source{blobs: map[digest.Digest][]byte{}, open: open}
	for _, b := range g.Blobs {
		s.blobs[b.Digest] = b.Data
	}
	return s
}

func (s *source) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	r, err := s.ReaderAt(ctx, ocispecs.Descriptor{Digest: d})
	if err != nil {
		return content.Info{}, err
	}
	defer r.Close()
	return content.Info{Digest: d, Size: r.Size()}, nil
}

func (s *source) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	data, ok := s.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", desc.Digest, errdefs.ErrNotFound)
	}
	if data != nil {
		return memory{bytes.NewReader(data)}, nil
	}
	f, err := s.file(ctx, desc.Digest)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err == nil && ctx.Err() == nil {
			s.err = err
		}
		return nil, err
	}
	return f, nil
}

func (s *source) file(ctx context.Context, d digest.Digest) (*openFile, error) {
	path, err := s.open(ctx, d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &openFile{f, info.Size()}, nil
}

func (s *source) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

type openFile struct {
	*os.File
	size int64
}

func (f *openFile) Size() int64 { return f.size }

// noStore refuses what an engine has no business asking of a client's content store.
type noStore struct{}

func (noStore) Info(context.Context, digest.Digest) (content.Info, error) {
	return content.Info{}, errdefs.ErrNotFound
}
func (noStore) ReaderAt(context.Context, ocispecs.Descriptor) (content.ReaderAt, error) {
	return nil, errdefs.ErrNotFound
}
func (noStore) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errdefs.ErrNotImplemented
}
func (noStore) Walk(context.Context, content.WalkFunc, ...string) error {
	return errdefs.ErrNotImplemented
}
func (noStore) Delete(context.Context, digest.Digest) error { return errdefs.ErrNotImplemented }
func (noStore) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errdefs.ErrNotFound
}
func (noStore) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }
func (noStore) Abort(context.Context, string) error                               { return nil }
func (noStore) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errdefs.ErrNotImplemented
}

var (
	_ content.Store    = (*source)(nil)
	_ content.ReaderAt = memory{}
	_ io.Closer        = (*openFile)(nil)
)
