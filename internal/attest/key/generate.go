package key

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sigstore/cosign/v2/pkg/cosign"

	"forge/internal/diag"
)

// Generate makes an ECDSA P-256 pair in cosign's format and writes <prefix>.key, sealed
// with the password, and <prefix>.pub. A file that exists is never replaced, and either
// both files are written or none. Errors: diag.KeyInvalid, diag.KeyPassword, diag.Disk.
func Generate(prefix string, password Password) (*Public, error) {
	private, public := prefix+".key", prefix+".pub"
	for _, path := range []string{private, public} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return nil, exists(path)
		}
	}
	secret, err := password(true)
	if err != nil {
		return nil, diag.Errorf(diag.KeyPassword, "", "reading the new key's password: %w", err)
	}
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return secret, nil })
	if err != nil {
		return nil, fmt.Errorf("generating key pair: %w", err)
	}
	if err := writeNew(private, pair.PrivateBytes, 0o600); err != nil {
		return nil, err
	}
	if err := writeNew(public, pair.PublicBytes, 0o644); err != nil {
		return nil, errors.Join(err, os.Remove(private))
	}
	return ParsePublic(pair.PublicBytes)
}

func exists(path string) error {
	return diag.Errorf(diag.KeyInvalid, "Choose another name, or move the old key away; replacing a key makes everything it signed unverifiable.",
		"writing key: %q exists already", path)
}

// writeNew writes a whole file or none, and never over another: the link fails where a
// name exists.
func writeNew(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".forge-key-*")
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing key: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing key: %w", err)
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return exists(path)
	} else if err != nil {
		return diag.Errorf(diag.Disk, "", "writing key: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing key: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return diag.Errorf(diag.Disk, "", "writing key: %w", err)
	}
	return nil
}
