package hclconf

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Reading a template's directory neither hangs nor fills memory, whatever is in it.
func TestReadFileTakesRegularFilesOnly(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "endless")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "endless", "absent"} {
		if _, err := ReadFile(os.DirFS(dir), name, 10); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if data, err := ReadFile(os.DirFS(dir), "file", 5); err != nil || string(data) != "12345" {
		t.Errorf("file: %q, %v", data, err)
	}
	if _, err := ReadFile(os.DirFS(dir), "file", 4); err == nil {
		t.Error("a file over the limit was read")
	}
}
