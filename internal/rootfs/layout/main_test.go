package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"forge/internal/diag"
	"forge/internal/rootfs"
)

// finishPlan makes a plan whose one file is content, with the digest given.
func finishPlan(t *testing.T, dir, digest string) string {
	t.Helper()
	plan := filepath.Join(dir, "plan.json")
	text := `{"version":1,"finish":{"files":[{"path":"/etc/f","mode":"0640","uid":0,"gid":0,"sha256":"` + digest + `"}]}}`
	if err := os.WriteFile(plan, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	sum := sha256.Sum256([]byte("content"))
	digest := hex.EncodeToString(sum[:])
	blob := filepath.Join(dir, "in", digest, "blob")
	for _, d := range []string{filepath.Dir(blob), filepath.Join(dir, "out"), filepath.Join(dir, "below")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(blob, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	plan := finishPlan(t, dir, digest)
	inventory := filepath.Join(dir, "inventory")
	args := []string{plan, filepath.Join(dir, "in"), filepath.Join(dir, "out"), inventory, filepath.Join(dir, "below")}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out/etc/f")); err != nil || string(got) != "content" {
		t.Errorf("file = %q, %v", got, err)
	}
	data, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := rootfs.ReadInventory(bytes.NewReader(data))
	if err != nil || len(entries) != 2 || entries[1].SHA256 != digest {
		t.Errorf("inventory = %v, %v", entries, err)
	}

	if err := os.WriteFile(blob, []byte("contents"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(args); diag.IDOf(err) != diag.HashMismatch {
		t.Errorf("changed input: error %v, want %s", err, diag.HashMismatch)
	}
	if err := run([]string{finishPlan(t, dir, strings.Repeat("../", 3)), args[1], args[2], args[3]}); err == nil {
		t.Error("an input outside the inputs was accepted")
	}
	if err := run(args[:3]); err == nil {
		t.Error("missing arguments were accepted")
	}
}
