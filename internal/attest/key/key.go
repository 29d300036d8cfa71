// Package key makes and loads signing keys in cosign's file format: a PKCS #8 key
// sealed with a password (scrypt, nacl secretbox) in PEM, and a PKIX public key in PEM.
//
// No error of this package carries key material or a password.
package key

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"

	"forge/internal/diag"
)

// maxFile bounds a key file, in bytes.
const maxFile = 64 << 10

// Password asks for a key's password. confirm is set when a new key is sealed, so that
// a prompt can ask twice.
type Password func(confirm bool) ([]byte, error)

// Public verifies signatures.
type Public struct {
	fingerprint string
	hint        string
	verifier    signature.Verifier
}

// Private signs.
type Private struct {
	Public
	signer signature.Signer
}

// Fingerprint names the key: "sha256:" and the hex SHA-256 of its PKIX form.
func (p *Public) Fingerprint() string { return p.fingerprint }

// Hint names the key in a Sigstore bundle, as cosign does: the base64 SHA-256 of its
// PKIX form.
func (p *Public) Hint() string { return p.hint }

// Verifier gives the key to libraries.
func (p *Public) Verifier() signature.Verifier { return p.verifier }

// Verify checks a signature over data.
func (p *Public) Verify(data, sig []byte) error {
	return p.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(data))
}

// Sign signs data. ECDSA signatures are randomised: two differ.
func (p *Private) Sign(data []byte) ([]byte, error) {
	return p.signer.SignMessage(bytes.NewReader(data))
}

// LoadPublic reads a PEM public key. Errors: diag.KeyInvalid.
func LoadPublic(path string) (*Public, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	k, err := ParsePublic(data)
	if err != nil {
		return nil, diag.Errorf(diag.KeyInvalid, "", "loading public key %q: %w", path, err)
	}
	return k, nil
}

// ParsePublic reads a PEM public key (ECDSA, Ed25519, or RSA of at least 2048 bits).
func ParsePublic(data []byte) (*Public, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("it is not a PEM file")
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, fmt.Errorf("it is a private key; the public key is in the .pub file beside it")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("it is a %.40q, not a public key", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("it holds more than one key")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the PKIX key: %w", err)
	}
	return newPublic(pub)
}

func newPublic(pub crypto.PublicKey) (*Public, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("it is an RSA key of %d bits; at least 2048 are needed", k.N.BitLen())
		}
	default:
		return nil, fmt.Errorf("keys of type %T are not supported", pub)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	v, err := signature.LoadDefaultVerifier(pub, *cosign.GetDefaultLoadOptions(nil)...)
	if err != nil {
		return nil, fmt.Errorf("using the public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return &Public{
		fingerprint: "sha256:" + hex.EncodeToString(sum[:]),
		hint:        base64.StdEncoding.EncodeToString(sum[:]),
		verifier:    v,
	}, nil
}

// LoadPrivate reads a cosign key and asks for its password. Errors: diag.KeyInvalid,
// diag.KeyPassword.
func LoadPrivate(path string, password Password) (*Private, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, diag.Errorf(diag.KeyInvalid, "", "loading private key %q: it is not a PEM file", path)
	}
	if block.Type != cosign.CosignPrivateKeyPemType && block.Type != cosign.SigstorePrivateKeyPemType {
		return nil, diag.Errorf(diag.KeyInvalid, "Seal it as a cosign key with `cosign import-key-pair`, or make a pair with `forge keys generate`.",
			"loading private key %q: it is a %.40q, not a sealed cosign key", path, block.Type)
	}
	secret, err := password(false)
	if err != nil {
		return nil, diag.Errorf(diag.KeyPassword, "", "reading the password of key %q: %w", path, err)
	}
	return unseal(path, data, secret)
}

// unseal decrypts the key; the library's error is told apart but never shown, since it
// is about decrypted bytes.
func unseal(path string, data, secret []byte) (*Private, error) {
	sv, err := cosign.LoadPrivateKey(data, secret, nil)
	if err != nil {
		if strings.Contains(err.Error(), "decryption failed") {
			return nil, diag.Errorf(diag.KeyPassword, "", "decrypting key %q: wrong password", path)
		}
		return nil, diag.Errorf(diag.KeyInvalid, "", "loading private key %q: it is damaged", path)
	}
	pub, err := sv.PublicKey()
	if err != nil {
		return nil, diag.Errorf(diag.KeyInvalid, "", "loading private key %q: it has no public half", path)
	}
	p, err := newPublic(pub)
	if err != nil {
		return nil, diag.Errorf(diag.KeyInvalid, "", "loading private key %q: %w", path, err)
	}
	return &Private{Public: *p, signer: sv}, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, diag.Errorf(diag.KeyInvalid, "", "reading key: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, diag.Errorf(diag.KeyInvalid, "", "reading key: %w", err)
	}
	if len(data) > maxFile {
		return nil, diag.Errorf(diag.KeyInvalid, "", "reading key %q: larger than %d bytes, so not a key", path, maxFile)
	}
	return data, nil
}
