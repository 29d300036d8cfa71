package lock

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"forge/internal/diag"
)

// A repository may put anything under the lock's name: reading it neither hangs nor
// fills memory.
func TestReadDirTakesRegularFilesOnly(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"endless":   func(path string) error { return os.Symlink("/dev/zero", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, FileName)); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadDir(dir); diag.IDOf(err) != diag.LockMalformed {
			t.Errorf("%s: %v, want %s", name, err, diag.LockMalformed)
		}
	}
}

func TestDecodeRefusesVersionsThatSteerTerminals(t *testing.T) {
	for _, version := range []string{"", "1\x1b[31m", "1\u202e", "1 2"} {
		err := validatePackages([]Package{{Name: "a", Version: version, Size: 1, SHA256: strings.Repeat("0", 64), Path: "pool/a.deb"}})
		if err == nil {
			t.Errorf("version %q is taken", version)
		}
	}
}
