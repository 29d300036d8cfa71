// Command layout is the program that runs inside a build: it lays out one layer.
//
//	layout PLAN INPUTS OUTPUT INVENTORY [BELOW...]
//
// PLAN is a rootfs.Plan as JSON. Each input it names stands at INPUTS/<sha256>/blob.
// OUTPUT is an empty directory that becomes the layer, INVENTORY the file that lists
// it. BELOW are the layers under a finish layer, the lowest first. The arguments name
// nothing of the host, because they stand in the image's history.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"forge/internal/diag"
	"forge/internal/rootfs"
)

func main() {
	debug.SetGCPercent(400) // it lives for a second
	if err := run(os.Args[1:]); err != nil {
		line := "layout: "
		if id := diag.IDOf(err); id != "" {
			line += string(id) + ": "
		}
		fmt.Fprintln(os.Stderr, line+err.Error())
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: layout PLAN INPUTS OUTPUT INVENTORY [BELOW...]")
	}
	plan, err := readPlan(args[0])
	if err != nil {
		return err
	}
	below, err := rootfs.OpenBelow(args[4:])
	if err != nil {
		return err
	}
	workers := min(runtime.GOMAXPROCS(0), 8)
	disk, err := rootfs.NewDisk(args[2], workers)
	if err != nil {
		return err
	}
	in := func(sha256 string) (rootfs.Input, error) { return open(args[1], sha256) }
	entries, err := rootfs.Lay(plan, in, below, disk, workers)
	if err != nil {
		return err
	}
	return writeInventory(args[3], entries)
}

func readPlan(path string) (*rootfs.Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return rootfs.ReadPlan(f)
}

func writeInventory(path string, entries []rootfs.Entry) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := rootfs.WriteInventory(f, entries); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// input is a verified input file.
type input struct {
	*os.File
	size int64
}

func (i input) Size() int64 { return i.size }

// open finds an input and hashes it before anything reads it.
func open(root, want string) (rootfs.Input, error) {
	if b, err := hex.DecodeString(want); err != nil || len(b) != sha256.Size {
		return nil, fmt.Errorf("input %q is not a sha256", want)
	}
	f, err := os.Open(filepath.Join(root, want, "blob"))
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err != nil {
		f.Close()
		return nil, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		f.Close()
		return nil, diag.Errorf(diag.HashMismatch, "", "input %s has the hash %s", want, got)
	}
	return input{f, n}, nil
}
