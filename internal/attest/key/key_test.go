package key

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"forge/internal/diag"
)

const secret = "correct horse"

func password(s string) Password {
	return func(bool) ([]byte, error) { return []byte(s), nil }
}

func TestGenerateAndLoad(t *testing.T) {
	dir := t.TempDir()
	prefix := filepath.Join(dir, "forge")
	var confirmed bool
	made, err := Generate(prefix, func(confirm bool) ([]byte, error) {
		confirmed = confirm
		return []byte(secret), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !confirmed {
		t.Error("a new key's password was not asked for twice")
	}
	info, err := os.Stat(prefix + ".key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key is %v, %v; want 0600", info.Mode(), err)
	}
	private, err := LoadPrivate(prefix+".key", password(secret))
	if err != nil {
		t.Fatal(err)
	}
	public, err := LoadPublic(prefix + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if made.Fingerprint() != private.Fingerprint() || made.Fingerprint() != public.Fingerprint() {
		t.Errorf("fingerprints differ: %s, %s, %s", made.Fingerprint(), private.Fingerprint(), public.Fingerprint())
	}
	sig, err := private.Sign([]byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := public.Verify([]byte("data"), sig); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if public.Verify([]byte("other"), sig) == nil {
		t.Error("a signature verifies over other data")
	}

	_, err = LoadPrivate(prefix+".key", password("wrong horse"))
	wantError(t, err, diag.KeyPassword, "wrong password")
	_, err = LoadPublic(prefix + ".key")
	wantError(t, err, diag.KeyInvalid, "private key")
	_, err = LoadPrivate(prefix+".pub", password(secret))
	wantError(t, err, diag.KeyInvalid, "not a sealed cosign key")

	t.Run("never overwrites", func(t *testing.T) {
		before := read(t, prefix+".key")
		_, err := Generate(prefix, password(secret))
		wantError(t, err, diag.KeyInvalid, "exists already")
		if err := os.Remove(prefix + ".key"); err != nil {
			t.Fatal(err)
		}
		_, err = Generate(prefix, password(secret))
		wantError(t, err, diag.KeyInvalid, "exists already")
		if err := os.WriteFile(prefix+".key", before, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		block, _ := pem.Decode(read(t, prefix+".key"))
		block.Bytes = block.Bytes[:len(block.Bytes)/2]
		path := filepath.Join(dir, "cut.key")
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadPrivate(path, password(secret))
		wantError(t, err, diag.KeyInvalid, "damaged")
	})
	t.Run("nothing left over", func(t *testing.T) {
		left, err := filepath.Glob(filepath.Join(dir, ".forge-key-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	})
}

func TestWriteNewDoesNotReplaceInARace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if err := writeNew(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, writeNew(path, []byte("second"), 0o600), diag.KeyInvalid, "exists already")
	if got := read(t, path); string(got) != "first" {
		t.Errorf("the file is %q", got)
	}
}

func TestLoadFaults(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadPublic(filepath.Join(dir, "absent"))
	wantError(t, err, diag.KeyInvalid, "no such file")
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("x"), maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = LoadPublic(big)
	wantError(t, err, diag.KeyInvalid, "larger than")
	_, err = LoadPrivate(big, password(secret))
	wantError(t, err, diag.KeyInvalid, "larger than")

	sealed := filepath.Join(dir, "sealed")
	block := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("{}")})
	if err := os.WriteFile(sealed, block, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = LoadPrivate(sealed, func(bool) ([]byte, error) { return nil, errors.New("no terminal") })
	wantError(t, err, diag.KeyPassword, "no terminal")
}

func TestParsePublic(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := public(t, &p256.PublicKey)
	tests := []struct {
		name string
		data []byte
		want string // part of the error; "" for none
	}{
		{"good", good, ""},
		{"no PEM", []byte("ssh-ed25519 AAAA"), "not a PEM"},
		{"weak RSA", public(t, &weak.PublicKey), "1024 bits"},
		{"two keys", append(bytes.Clone(good), good...), "more than one"},
		{"certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), "not a public key"},
		{"empty", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"}), "PKIX"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePublic(tt.data)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error is %v, want %q in it", err, tt.want)
			}
		})
	}
}

func public(t *testing.T, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantError(t *testing.T, err error, id diag.ID, part string) {
	t.Helper()
	if diag.IDOf(err) != id || !strings.Contains(err.Error(), part) {
		t.Errorf("error is %s: %v; want %s with %q", diag.IDOf(err), err, id, part)
	}
	if err != nil && strings.Contains(err.Error(), "horse") {
		t.Errorf("the error tells a password: %v", err)
	}
}
