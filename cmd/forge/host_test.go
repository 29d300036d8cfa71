package main

import (
	"os"
	"path/filepath"
	"testing"

	"forge/internal/diag"
)

func TestCacheOfOthersIsRefused(t *testing.T) {
	uid := os.Geteuid()
	own := filepath.Join(t.TempDir(), "new", "cache")
	if err := prepareCache(own, uid); err != nil {
		t.Errorf("a new directory: %v", err)
	}
	if err := prepareCache(own, uid+1); diag.IDOf(err) != diag.Disk {
		t.Errorf("a directory of another user: %v, want %s", err, diag.Disk)
	}
	if err := os.Chmod(own, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := prepareCache(own, uid); diag.IDOf(err) != diag.Disk {
		t.Errorf("a directory that others may write: %v, want %s", err, diag.Disk)
	}
}
