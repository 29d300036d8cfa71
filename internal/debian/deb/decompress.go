package deb

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"forge/internal/debian/xz"
	"forge/internal/diag"
)

// maxWindow bounds the memory of a decoder, in bytes. dpkg-deb's highest levels need
// 64 MiB for xz and 8 MiB for zstd.
const maxWindow = 64 << 20

// decompress gives the plain bytes of a member; close frees the decoder.
func decompress(r io.Reader, suffix string) (plain io.Reader, close func(), err error) {
	nothing := func() {}
	switch suffix {
	case "":
		return r, nothing, nil
	case ".gz":
		plain, err = gzip.NewReader(r)
		return plain, nothing, decodeError(cutShort(err))
	case ".xz":
		plain, err = xz.NewReader(r, maxWindow)
		return plain, nothing, decodeError(cutShort(err))
	case ".zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxData))
		if err != nil {
			return nil, nothing, decodeError(err)
		}
		return d, d.Close, nil
	}
	return nil, nothing, malformed("unknown compression %q", suffix)
}

// plainReader bounds what a decoder gives and names its faults.
type plainReader struct {
	r     io.Reader
	left  int64 // bytes it may still give
	stuck int   // reads in a row that gave nothing
}

// maxStuck ends a decoder that neither gives bytes nor ends (as CVE-2026-2219 was).
const maxStuck = 1000

func (p *plainReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.left <= 0 {
		// One byte more decides between "exactly at the bound" and "beyond it".
		b = b[:1]
	} else if int64(len(b)) > p.left {
		b = b[:p.left]
	}
	n, err := p.r.Read(b)
	if n > 0 && p.left <= 0 {
		return 0, tooLarge("uncompressed content is larger than allowed")
	}
	p.left -= int64(n)
	if n == 0 && err == nil {
		if p.stuck++; p.stuck > maxStuck {
			return 0, malformed("decoder gives no more data and does not end")
		}
		return 0, nil
	}
	p.stuck = 0
	return n, decodeError(err)
}

// decodeError makes a decoder's fault a refused package, and leaves the end alone.
func decodeError(err error) error {
	if err == nil || errors.Is(err, io.EOF) || diag.IDOf(err) != "" {
		return err
	}
	return &diag.Error{ID: diag.MalformedPackage, Err: fmt.Errorf("decompressing: %w", err)}
}
