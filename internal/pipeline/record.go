package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"forge/internal/diag"
)

// A record is JSON after a line with the SHA-256 of its name and itself: what a disk or
// a crash did to it, or another record under its name, must not reach a lock or an image.

// readRecord reads a cached record; one that is not whole is none.
func readRecord[T any](name string) (*T, bool) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	sum, payload, _ := bytes.Cut(data, []byte("\n"))
	if string(sum) != recordSum(name, payload) {
		return nil, false
	}
	v := new(T)
	return v, json.Unmarshal(payload, v) == nil
}

// recordSum covers the last two parts of a record's name: its kind and its package.
func recordSum(name string, payload []byte) string {
	kind := filepath.Base(filepath.Dir(name))
	sum := sha256.Sum256(append([]byte(kind+"/"+filepath.Base(name)+"\n"), payload...))
	return hex.EncodeToString(sum[:])
}

func writeRecord(name string, v any) error {
	payload, err := json.Marshal(v)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o755)
	}
	var tmp *os.File
	if err == nil {
		tmp, err = os.CreateTemp(filepath.Dir(name), ".new-*")
	}
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing to the cache: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append([]byte(recordSum(name, payload)+"\n"), payload...))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing to the cache: %w", err)
	}
	return nil
}
