// Package helper carries the layout program for both architectures inside forge.
//
// The programs are made by `go generate`, reproducibly: the same sources and the same
// Go give the same bytes, on every machine.
package helper

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

//go:generate go run ./gen

//go:embed layout-amd64.zst
var amd64 []byte

//go:embed layout-arm64.zst
var arm64 []byte

// maxProgram bounds an unpacked program, in bytes.
const maxProgram = 64 << 20

// Layout gives the layout program for a Go architecture ("amd64" or "arm64") and the
// SHA-256 of its bytes in hex.
func Layout(goarch string) (program []byte, digest string, err error) {
	packed, ok := map[string][]byte{"amd64": amd64, "arm64": arm64}[goarch]
	if !ok {
		return nil, "", fmt.Errorf("no layout program for architecture %q", goarch)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxProgram))
	if err != nil {
		return nil, "", fmt.Errorf("unpacking the layout program for %s: %w", goarch, err)
	}
	defer d.Close()
	program, err = d.DecodeAll(packed, nil)
	if err != nil {
		return nil, "", fmt.Errorf("unpacking the layout program for %s: %w", goarch, err)
	}
	sum := sha256.Sum256(program)
	return program, hex.EncodeToString(sum[:]), nil
}
