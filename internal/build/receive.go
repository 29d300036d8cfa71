package build

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"

	"forge/internal/diag"
)

const (
	maxDocument = 8 << 20  // an engine's config or manifest
	maxLayer    = 64 << 30 // an uncompressed layer

	// An export has a config and a manifest beside its layers; some engines add others.
	maxDocuments = 16
)

// receiver takes what the engine exports: uncompressed layers, which it encodes into
// the store on the way, and a config and a manifest, which stay in memory.
//
// The engine is not trusted: a layer is kept only when its bytes have the digest that
// it was announced with, so a layer's digest is its diffID by construction.
type receiver struct {
	noStore
	store    *Store
	blobs    string // directory of the engine's own files; "" when out of reach
	encoding string

	mu        sync.Mutex
	left      int // blobs that may still be announced
	documents map[digest.Digest][]byte
	failed    error // the first fault of the store
}

// newReceiver makes a receiver of at most so many layers.
func newReceiver(s *Store, blobs, encoding string, layers int) *receiver {
	return &receiver{store: s, blobs: blobs, encoding: encoding, left: layers + maxDocuments, documents: map[digest.Digest][]byte{}}
}

// admit counts a blob that is about to be received.
func (r *receiver) admit() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left--; r.left < 0 {
		return diag.Errorf(diag.BuildFailed, "Use another engine.", "the engine sends more blobs than the image has layers")
	}
	return nil
}

// fail remembers a fault of the store, of which the engine passes on only the text.
func (r *receiver) fail(err error) error {
	fault := diag.Errorf(diag.Disk, "", "keeping a layer: %w", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = fault
	}
	return fault
}

func (r *receiver) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Info tells the engine what need not be sent.
func (r *receiver) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	if data := r.document(d); data != nil {
		return content.Info{Digest: d, Size: int64(len(data))}, nil
	}
	if _, ok := r.store.Find(r.encoding, d); ok {
		return content.Info{Digest: d}, nil
	}
	return content.Info{}, errdefs.ErrNotFound
}

func (r *receiver) document(d digest.Digest) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.documents[d]
}

// Writer begins the receipt of one blob; BuildKit's name for it says whether it is a
// layer. Two builds that get the same layer receive it once: the second waits.
func (r *receiver) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	w := &blobWriter{receiver: r, ref: o.Ref, want: o.Desc.Digest, total: o.Desc.Size, release: func() {}}
	if err := w.want.Validate(); err != nil || w.want.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("receiving a blob with digest %q: %w", w.want, errdefs.ErrInvalidArgument)
	}
	if strings.HasPrefix(o.Ref, "layer-") {
		w.layer = true
		release, err := r.store.claim(ctx, w.want)
		if err != nil {
			return nil, err
		}
		w.release = release
	}
	if _, err := r.Info(ctx, w.want); err == nil {
		w.release()
		return nil, fmt.Errorf("blob %s: %w", w.want, errdefs.ErrAlreadyExists)
	}
	if w.layer && w.take(ctx) == nil {
		w.Close()
		return nil, fmt.Errorf("blob %s: %w", w.want, errdefs.ErrAlreadyExists)
	}
	err := r.admit()
	if err == nil {
		err = w.Truncate(0)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// take receives a layer from the engine's own file, which saves the way through a
// socket. Its bytes are checked like those that are sent; where there is no such file
// or it is another's, the engine sends.
func (w *blobWriter) take(ctx context.Context) error {
	if w.receiver.blobs == "" {
		return fs.ErrNotExist
	}
	f, err := os.Open(filepath.Join(w.receiver.blobs, w.want.Encoded()))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.Truncate(0); err != nil {
		return err
	}
	for b := make([]byte, 1<<20); ; {
		n, err := f.Read(b)
		if err == io.EOF {
			return w.Commit(ctx, w.total, w.want)
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
	}
}

// claim waits until nobody else in this process receives the layer.
func (s *Store) claim(ctx context.Context, d digest.Digest) (release func(), err error) {
	for {
		s.mu.Lock()
		wait, taken := s.busy[d]
		if !taken {
			mine := make(chan struct{})
			s.busy[d] = mine
			s.mu.Unlock()
			return sync.OnceFunc(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.busy, d)
				close(mine)
			}), nil
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// blobWriter receives one blob. A layer goes through the encoder to a temporary file,
// which only Commit makes part of the store.
type blobWriter struct {
	receiver *receiver
	ref      string
	want     digest.Digest
	total    int64 // 0 where the engine did not say
	layer    bool
	release  func()

	offset   int64
	hash     hash.Hash // of what came in
	document bytes.Buffer

	tmp     *os.File
	encoded *counter // what went to tmp
	encoder io.WriteCloser
}

func (w *blobWriter) Write(p []byte) (int, error) {
	limit := int64(maxDocument)
	if w.layer {
		limit = maxLayer
	}
	if w.offset+int64(len(p)) > limit {
		return 0, diag.Errorf(diag.TooLarge, "", "the engine sends more than %d bytes for %q", limit, w.ref)
	}
	w.hash.Write(p)
	w.offset += int64(len(p))
	if !w.layer {
		return w.document.Write(p)
	}
	n, err := w.encoder.Write(p)
	if err != nil {
		return n, w.receiver.fail(err)
	}
	return n, nil
}

// Truncate starts over; only from the beginning.
func (w *blobWriter) Truncate(size int64) error {
	if size != 0 {
		return errdefs.ErrInvalidArgument
	}
	w.discard()
	w.offset, w.hash = 0, digest.SHA256.Hash()
	w.document.Reset()
	if !w.layer {
		return nil
	}
	tmp, err := w.receiver.store.temp()
	if err != nil {
		return w.receiver.fail(err)
	}
	w.tmp, w.encoded = tmp, &counter{w: tmp, hash: digest.SHA256.Hash()}
	w.encoder, err = newEncoder(w.receiver.encoding, w.encoded)
	return err
}

// Commit keeps the blob when it is what it was announced to be.
func (w *blobWriter) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	got := digest.NewDigest(digest.SHA256, w.hash)
	if got != w.want || (expected != "" && expected != w.want) || (size > 0 && size != w.offset) {
		return diag.Errorf(diag.BuildFailed, "The engine or the connection to it is broken; use another with --engine.",
			"receiving %q: got %s of %d bytes", w.ref, got, w.offset)
	}
	if !w.layer {
		w.receiver.mu.Lock()
		defer w.receiver.mu.Unlock()
		w.receiver.documents[w.want] = bytes.Clone(w.document.Bytes())
		return nil
	}
	err := w.encoder.Close()
	if err == nil {
		e := Encoded{digest.NewDigest(digest.SHA256, w.encoded.hash), w.encoded.n}
		err = w.receiver.store.keep(w.tmp, w.receiver.encoding, w.want, e)
	}
	if err != nil {
		return w.receiver.fail(err)
	}
	return nil
}

// Close ends the receipt; what was not committed is gone.
func (w *blobWriter) Close() error {
	w.discard()
	w.release()
	return nil
}

func (w *blobWriter) discard() {
	if w.tmp == nil {
		return
	}
	w.encoder.Close() // ends the encoder's goroutines
	w.tmp.Close()
	os.Remove(w.tmp.Name()) // after Commit there is nothing under this name
	w.tmp = nil
}

func (w *blobWriter) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, w.hash) }

func (w *blobWriter) Status() (content.Status, error) {
	return content.Status{Ref: w.ref, Offset: w.offset, Total: w.total, Expected: w.want, StartedAt: time.Time{}, UpdatedAt: time.Time{}}, nil
}

// counter hashes and counts what passes.
type counter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.hash.Write(p[:n])
	c.n += int64(n)
	return n, err
}
