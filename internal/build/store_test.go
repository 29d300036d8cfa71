package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/util/compression"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/diag"
)

// A layer's encoded bytes depend on neither the sizes of writes nor the processors.
func TestEncodingIsStable(t *testing.T) {
	layer := tarOf(t, "a", strings.Repeat("some text ", 300_000), "b", strings.Repeat("other", 100_000))
	for _, encoding := range []string{Zstd, Gzip} {
		want := receive(t, openStore(t), encoding, layer, len(layer))
		for _, chunk := range []int{1000, 32 << 10, 1 << 20} {
			procs := runtime.GOMAXPROCS(1 + chunk%3)
			got := receive(t, openStore(t), encoding, layer, chunk)
			runtime.GOMAXPROCS(procs)
			if got.Digest != want.Digest {
				t.Errorf("%s in writes of %d: %s, want %s", encoding, chunk, got.Digest, want.Digest)
			}
		}
	}
}

// forge's zstd is BuildKit's: an engine that encodes gives the same blob.
func TestEncodingIsBuildKits(t *testing.T) {
	layer := tarOf(t, "a", strings.Repeat("some text ", 300_000))
	compressor, _ := compression.Zstd.Compress(t.Context(), compression.New(compression.Zstd))
	var b bytes.Buffer
	w, err := compressor(&b, "")
	if err != nil {
		t.Fatal(err)
	}
	_, werr := w.Write(layer)
	if err := errors.Join(werr, w.Close()); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, openStore(t), Zstd, layer, 4096).Digest; got != digest.FromBytes(b.Bytes()) {
		t.Errorf("forge gives %s, BuildKit %s", got, digest.FromBytes(b.Bytes()))
	}
}

func TestStoredLayerUnpacksToItsDiffID(t *testing.T) {
	layer := tarOf(t, "a", "b")
	for _, encoding := range []string{Zstd, Gzip} {
		l := receive(t, openStore(t), encoding, layer, 100)
		data, err := os.ReadFile(l.Path)
		if err != nil {
			t.Fatal(err)
		}
		if digest.FromBytes(data) != l.Digest || int64(len(data)) != l.Size {
			t.Errorf("%s: blob is not what its record says", encoding)
		}
		r, err := newDecoder(encoding, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(r); err != nil || digest.FromBytes(plain) != l.DiffID {
			t.Errorf("%s: blob unpacks to other bytes (%v)", encoding, err)
		}
	}
}

func writer(ctx context.Context, s *Store, layer []byte, size int64) (content.Writer, error) {
	d := digest.FromBytes(layer)
	return newReceiver(s, "", Zstd, 1).Writer(ctx, content.WithRef("layer-"+d.String()), content.WithDescriptor(ocispecs.Descriptor{Digest: d, Size: size}))
}

// What an engine sends otherwise than announced leaves nothing in the store.
func TestReceiverRefuses(t *testing.T) {
	layer := tarOf(t, "a", "b")
	for _, test := range []struct {
		name string
		send []byte
		size int64
	}{
		{"other bytes", bytes.ToUpper(layer), int64(len(layer))},
		{"truncated", layer[:512], int64(len(layer))},
		{"extended", append(bytes.Clone(layer), 0), int64(len(layer))},
	} {
		s := openStore(t)
		w, err := writer(t.Context(), s, layer, test.size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(test.send); err != nil {
			t.Fatal(err)
		}
		err = w.Commit(t.Context(), test.size, digest.FromBytes(layer))
		w.Close()
		if diag.IDOf(err) != diag.BuildFailed {
			t.Errorf("%s: error %v, want %s", test.name, err, diag.BuildFailed)
		}
		wantFiles(t, s.dir, 0)
	}
}

// A layer that the engine has in a file of its own is not sent, unless the file holds
// something else.
func TestReceiverTakes(t *testing.T) {
	layer := tarOf(t, "a", "b")
	d := digest.FromBytes(layer)
	for name, inFile := range map[string][]byte{"its bytes": layer, "other bytes": bytes.ToUpper(layer), "cut short": layer[:512]} {
		s, blobs := openStore(t), t.TempDir()
		if err := os.WriteFile(filepath.Join(blobs, d.Encoded()), inFile, 0o444); err != nil {
			t.Fatal(err)
		}
		w, err := newReceiver(s, blobs, Zstd, 1).Writer(t.Context(), content.WithRef("layer-"+d.String()),
			content.WithDescriptor(ocispecs.Descriptor{Digest: d, Size: int64(len(layer))}))
		if bytes.Equal(inFile, layer) {
			if !errdefs.IsAlreadyExists(err) {
				t.Errorf("%s: error %v, want already exists", name, err)
			}
			stored(t, s, Zstd, d)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := w.Write(layer); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), int64(len(layer)), d); err != nil {
			t.Errorf("%s, then sent: %v", name, err)
		}
		w.Close()
		stored(t, s, Zstd, d)
	}
}

func TestReceiverKeepsNothingUncommitted(t *testing.T) {
	s, layer := openStore(t), tarOf(t, "a", "b")
	w, err := writer(t.Context(), s, layer, int64(len(layer)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(layer); err != nil {
		t.Fatal(err)
	}
	w.Close()
	wantFiles(t, s.dir, 0)
}

func wantFiles(t *testing.T, dir string, want int) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if err != nil || len(got) != want {
		t.Errorf("%d files %v (%v), want %d", len(got), got, err, want)
	}
}

// Of two receipts of one layer, the second waits for the first and then is told that
// the layer exists; when the first gives up, the second goes on.
func TestReceiversOfOneLayerTakeTurns(t *testing.T) {
	for _, commit := range []bool{true, false} {
		s, layer := openStore(t), tarOf(t, "a", "b")
		first, err := writer(t.Context(), s, layer, 0)
		if err != nil {
			t.Fatal(err)
		}
		var second content.Writer
		var secondErr error
		var wait sync.WaitGroup
		wait.Go(func() { second, secondErr = writer(t.Context(), s, layer, 0) })
		if commit {
			if _, err := first.Write(layer); err != nil {
				t.Fatal(err)
			}
			if err := first.Commit(t.Context(), 0, ""); err != nil {
				t.Fatal(err)
			}
		}
		first.Close()
		wait.Wait()
		if commit != errdefs.IsAlreadyExists(secondErr) {
			t.Errorf("first committed: %v; second's error: %v", commit, secondErr)
		}
		if second != nil {
			second.Close()
		}
	}
}

func TestClaimEndsWithItsContext(t *testing.T) {
	s, layer := openStore(t), tarOf(t, "a", "b")
	first, err := writer(t.Context(), s, layer, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := writer(ctx, s, layer, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

// A record whose blob is gone or changed is no record: the layer is received anew.
func TestFindWantsTheBlob(t *testing.T) {
	layer := tarOf(t, "a", "b")
	for name, spoil := range map[string]func(path string) error{
		"gone": os.Remove,
		"cut":  func(path string) error { return os.Truncate(path, 5) },
		"changed": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(os.Remove(path), os.WriteFile(path, make([]byte, info.Size()), 0o644))
		},
		"changed by the disk itself": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return errors.Join(os.Remove(path), os.WriteFile(path, data, 0o644), os.Chtimes(path, storedTime, storedTime))
		},
		"a link": relink,
	} {
		s := openStore(t)
		l := receive(t, s, Zstd, layer, 100)
		if err := spoil(l.Path); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(s.dir) // as the next process does
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Find(Zstd, l.DiffID); ok {
			t.Errorf("%s: found the layer all the same", name)
		}
		if again := receive(t, s, Zstd, layer, 100); again.Digest != l.Digest {
			t.Errorf("%s: received anew as %s, want %s", name, again.Digest, l.Digest)
		}
	}
}

// Two processes that share a store, two images that share a layer: whoever renames last
// leaves a record that holds.
func TestStoreIsShared(t *testing.T) {
	first, layer := openStore(t), tarOf(t, "a", "b")
	second, err := OpenStore(first.dir)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for _, s := range []*Store{first, second} {
		for range 4 {
			wait.Go(func() {
				w, err := writer(t.Context(), s, layer, 0)
				if errdefs.IsAlreadyExists(err) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer w.Close()
				if _, err := w.Write(layer); err != nil {
					t.Error(err)
				}
				if err := w.Commit(t.Context(), 0, ""); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	stored(t, first, Zstd, digest.FromBytes(layer))
	wantFiles(t, first.dir, 2)
}

func TestSourceServesOnlyInputs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "package")
	if err := os.WriteFile(file, []byte("package"), 0o644); err != nil {
		t.Fatal(err)
	}
	inFile, missing, memory := digest.FromString("package"), digest.FromString("missing"), digest.FromString("plan")
	gone := diag.Errorf(diag.PackageGone, "", "gone")
	g := &Graph{Blobs: []Blob{{inFile, nil}, {missing, nil}, {memory, []byte("plan")}}}
	s := newSource(g, func(_ context.Context, d digest.Digest) (string, error) {
		if d == missing {
			return "", gone
		}
		return file, nil
	})
	for d, want := range map[digest.Digest]string{inFile: "package", memory: "plan"} {
		info, err := s.Info(t.Context(), d)
		if err != nil || info.Size != int64(len(want)) {
			t.Errorf("Info(%s) = %d, %v, want %d", d, info.Size, err, len(want))
		}
		data, err := content.ReadBlob(t.Context(), s, ocispecs.Descriptor{Digest: d, Size: info.Size})
		if err != nil || string(data) != want {
			t.Errorf("blob %s = %q, %v, want %q", d, data, err, want)
		}
	}
	if _, err := s.Info(t.Context(), digest.FromString("secret")); !errdefs.IsNotFound(err) {
		t.Errorf("a blob outside the graph: %v, want not found", err)
	}
	if _, err := s.Info(t.Context(), missing); err == nil || s.fault() != error(gone) {
		t.Errorf("fault %v, want %v", s.fault(), gone)
	}
}

// TestReceiverTakesNoMoreThanAnImageHas: an engine that announces blobs without end is
// stopped.
func TestReceiverTakesNoMoreThanAnImageHas(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := newReceiver(s, "", Zstd, 2)
	for i := range 2 + maxDocuments + 1 {
		data := fmt.Append(nil, "document ", i)
		w, err := r.Writer(t.Context(), content.WithRef("config-"+digest.FromBytes(data).String()),
			content.WithDescriptor(ocispecs.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}))
		if i == 2+maxDocuments {
			if diag.IDOf(err) != diag.BuildFailed {
				t.Errorf("blob %d: %v, want %s", i+1, err, diag.BuildFailed)
			}
			return
		}
		if err != nil {
			t.Fatalf("blob %d: %v", i+1, err)
		}
		w.Close()
	}
}
