// Command gen compiles the layout program for every architecture and packs it beside
// package helper. It is run by `go generate ./internal/build/helper`.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	for _, arch := range []string{"amd64", "arm64"} {
		if err := generate(arch); err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}

// generate writes layout-ARCH.zst in the current directory, whole or not at all.
func generate(arch string) error {
	dir, err := os.MkdirTemp("", "forge-layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "layout")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", program, "forge/internal/rootfs/layout")
	// GOAMD64, GOARM64 and GOEXPERIMENT of the environment would change the bytes.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch,
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compiling the layout program for %s: %w", arch, err)
	}
	plain, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	name := "layout-" + arch + ".zst"
	if err := os.WriteFile(name+".tmp", enc.EncodeAll(plain, nil), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
