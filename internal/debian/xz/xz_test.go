package xz

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// files are streams that xz(1) made with various options, and the SHA-256 of what it
// makes of them.
var files = map[string]string{
	"empty":     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"one":       "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
	"mixed":     "e029fbc3e0c348476483f5b2457ea026c8b6c1379b0e2bebf0298a4870da0044", // text, noise, zeros
	"extreme":   "e029fbc3e0c348476483f5b2457ea026c8b6c1379b0e2bebf0298a4870da0044", // -9e, SHA-256
	"blocks":    "e029fbc3e0c348476483f5b2457ea026c8b6c1379b0e2bebf0298a4870da0044",
	"sizes":     "e029fbc3e0c348476483f5b2457ea026c8b6c1379b0e2bebf0298a4870da0044", // -T2: sizes in the block headers
	"crc32":     "47eab8551b5e1afd5ebf33bef21e1e8181b8daea96c982eef8056d741c969eb3",
	"nocheck":   "41e2c5a491a9d5ae1acf189fa28e6394ad017eeb24f013b8e241f2a6218ee0ae", // noise: uncompressed chunks
	"props":     "7c5ece538218fe00588ac308954e3c1f99b48a50a0272fa39b90b8d09768237e", // lc=0,lp=4,pb=0
	"props2":    "a7fcc5e3bd2f5ad2e58b34a0d17e12107d3ee2c0f63a13fffbe530f29f2389ef", // lc=4,lp=0,pb=4
	"smalldict": "4710461c134d8766bfe6d32aada43b79371253d68769fc6840bda0e92e6c3cd4", // far longer than its 4 KiB dictionary
}

func packed(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".xz"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unpack(r io.Reader) ([]byte, error) {
	x, err := NewReader(r, 64<<20)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(x)
}

func TestReader(t *testing.T) {
	for name, want := range files {
		data := packed(t, name)
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			plain, err := unpack(r)
			sum := sha256.Sum256(plain)
			if got := hex.EncodeToString(sum[:]); err != nil || got != want {
				t.Errorf("%s: %d bytes, %s, %v, want %s", name, len(plain), got, err, want)
			}
		}
	}
}

func TestReaderGivesSmallPieces(t *testing.T) {
	x, err := NewReader(bytes.NewReader(packed(t, "smalldict")), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, iotest.OneByteReader(x), make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != files["smalldict"] {
		t.Errorf("content is %s, want %s", got, files["smalldict"])
	}
}

func TestTruncated(t *testing.T) {
	data := packed(t, "crc32")
	for n := range data {
		if _, err := unpack(bytes.NewReader(data[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("the first %d bytes: error %v, want %v", n, err, io.ErrUnexpectedEOF)
		}
	}
}

// Every bit of a stream counts: to change one is an error.
func TestChanged(t *testing.T) {
	for name, step := range map[string]int{"crc32": 5, "one": 1, "empty": 1} {
		data := packed(t, name)
		for i := 0; i < len(data); i += step {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << (i % 8)
			if _, err := unpack(bytes.NewReader(bad)); err == nil {
				t.Errorf("%s: byte %d changed from %#x to %#x passes", name, i, data[i], bad[i])
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		data []byte
		dict uint32
		want error
	}{
		"bytes after the end":  {append(packed(t, "one"), 0), 64 << 20, ErrMalformed},
		"two streams":          {append(packed(t, "one"), packed(t, "one")...), 64 << 20, ErrMalformed},
		"a filter for x86":     {packed(t, "bcj"), 64 << 20, ErrUnsupported},
		"a dictionary too big": {packed(t, "extreme"), 32 << 20, ErrUnsupported},
		"something else":       {[]byte(strings.Repeat("PK\x03\x04", 10)), 64 << 20, ErrMalformed},
	} {
		x, err := NewReader(bytes.NewReader(test.data), test.dict)
		if err == nil {
			_, err = io.ReadAll(x)
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
}

// FuzzReader looks for panics, hangs and readers that go on after an error.
func FuzzReader(f *testing.F) {
	for name := range files {
		f.Add(packed(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := NewReader(bytes.NewReader(data), 1<<20)
		if err != nil {
			return
		}
		_, err = io.Copy(io.Discard, io.LimitReader(x, 64<<20))
		if n, again := x.Read(make([]byte, 1)); err != nil && (n != 0 || again == nil) {
			t.Errorf("after %v: %d bytes, %v", err, n, again)
		}
	})
}
