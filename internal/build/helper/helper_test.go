package helper

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"testing"
)

func TestLayoutProgramsAreStatic(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, digest, err := Layout(arch)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(program); hex.EncodeToString(sum[:]) != digest {
			t.Errorf("%s: digest %s is not the program's", arch, digest)
		}
		if len(program) > 5<<20 {
			t.Errorf("%s: program of %d bytes; what did it begin to import?", arch, len(program))
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		libraries, err := f.ImportedLibraries()
		if err != nil || f.Machine != machine || len(libraries) > 0 {
			t.Errorf("%s: machine %v, libraries %v, %v", arch, f.Machine, libraries, err)
		}
	}
	if _, _, err := Layout("mips"); err == nil {
		t.Error("a program for mips came from nowhere")
	}
}
