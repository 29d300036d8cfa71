package build

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// The encodings of layers, as spec.Image.Compression says them.
const (
	Zstd = "zstd"
	Gzip = "gzip"
)

// gzipLevel is where the module's levels stop getting smaller quickly: on a base image,
// 4 % below its default and 0.2 % above its best, which takes five times as long.
const gzipLevel = 8

// newEncoder compresses a layer. The bytes depend on nothing but the input and the
// version of the compression module: not on the processors' number, not on the sizes of
// writes. zstd's level is the module's default, as in BuildKit.
func newEncoder(encoding string, w io.Writer) (io.WriteCloser, error) {
	switch encoding {
	case Zstd:
		return zstd.NewWriter(w)
	case Gzip:
		return gzip.NewWriterLevel(w, gzipLevel) // its header carries no name and no time
	}
	return nil, fmt.Errorf("unknown layer encoding %q", encoding)
}

// newDecoder reads a layer of the store.
func newDecoder(encoding string, r io.Reader) (io.ReadCloser, error) {
	switch encoding {
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case Gzip:
		return gzip.NewReader(r)
	}
	return nil, fmt.Errorf("unknown layer encoding %q", encoding)
}

func mediaType(encoding string) string {
	if encoding == Gzip {
		return ocispecs.MediaTypeImageLayerGzip
	}
	return ocispecs.MediaTypeImageLayerZstd
}
