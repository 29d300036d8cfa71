package archivetest

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// KeyOptions describes an OpenPGP key. The zero value is a sound Ed25519 key.
type KeyOptions struct {
	RSABits  int           // an RSA key of so many bits instead
	Lifetime time.Duration // forever when zero
	Subkey   bool          // sign with a subkey
	Revoked  bool
}

// Key is an archive's signing key.
type Key struct {
	entity  *openpgp.Entity
	created time.Time
}

// NewKey makes a key that exists since that moment.
func NewKey(name string, created time.Time, o KeyOptions) *Key {
	c := &packet.Config{
		Time:            func() time.Time { return created },
		Algorithm:       packet.PubKeyAlgoEdDSA,
		DefaultHash:     crypto.SHA256,
		KeyLifetimeSecs: uint32(o.Lifetime / time.Second),
	}
	if o.RSABits > 0 {
		c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, o.RSABits
	}
	e, err := openpgp.NewEntity(name, "", strings.ToLower(name)+"@example.com", c)
	must(err)
	if o.Subkey {
		must(e.AddSigningSubkey(c))
	}
	if o.Revoked {
		must(e.RevokeKey(packet.KeyCompromised, "test", c))
	}
	return &Key{entity: e, created: created}
}

// Fingerprint of the primary key, upper-case hex.
func (k *Key) Fingerprint() string {
	return strings.ToUpper(hex.EncodeToString(k.entity.PrimaryKey.Fingerprint))
}

// SigningFingerprint is of the key that makes the signatures: the subkey, if there is one.
func (k *Key) SigningFingerprint() string {
	return strings.ToUpper(hex.EncodeToString(k.signer().Fingerprint))
}

func (k *Key) signer() *packet.PrivateKey {
	for _, s := range k.entity.Subkeys {
		if s.Sig.FlagSign {
			return s.PrivateKey
		}
	}
	return k.entity.PrivateKey
}

// Keyring gives the public keys, armored.
func Keyring(keys ...*Key) []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	must(err)
	for _, k := range keys {
		must(k.entity.Serialize(w))
	}
	must(w.Close())
	return b.Bytes()
}

// SignOptions describes a signature.
type SignOptions struct {
	At       time.Time     // when it was made
	Lifetime time.Duration // forever when zero
	SHA1     bool          // a weak hash, which no sound writer makes any more
}

// ClearSign signs text as an InRelease file, with each key.
func ClearSign(text []byte, o SignOptions, keys ...*Key) []byte {
	c := &packet.Config{
		Time:            func() time.Time { return o.At },
		DefaultHash:     crypto.SHA256,
		SigLifetimeSecs: uint32(o.Lifetime / time.Second),
	}
	if o.SHA1 {
		return clearSignSHA1(text, o.At, keys[0].signer())
	}
	private := make([]*packet.PrivateKey, len(keys))
	for i, k := range keys {
		private[i] = k.signer()
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, private, c)
	must(err)
	_, err = w.Write(text)
	must(err)
	must(w.Close())
	b.WriteByte('\n')
	return b.Bytes()
}

// clearSignSHA1 does by hand what the OpenPGP library refuses to.
func clearSignSHA1(text []byte, at time.Time, k *packet.PrivateKey) []byte {
	body := strings.TrimSuffix(string(text), "\n")
	s := &packet.Signature{Version: k.Version, SigType: packet.SigTypeText, PubKeyAlgo: k.PubKeyAlgo, Hash: crypto.SHA1,
		CreationTime: at, IssuerKeyId: &k.KeyId, IssuerFingerprint: k.Fingerprint}
	h := sha1.New()
	h.Write([]byte(strings.ReplaceAll(body, "\n", "\r\n")))
	salted := false
	must(s.Sign(h, k, &packet.Config{NonDeterministicSignaturesViaNotation: &salted}))
	var b bytes.Buffer
	b.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\n" + body + "\n")
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	must(err)
	must(s.Serialize(w))
	must(w.Close())
	b.WriteByte('\n')
	return b.Bytes()
}
