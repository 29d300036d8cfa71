package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"forge/internal/attest"
	"forge/internal/attest/key"
)

var errOtherKey = errors.New("it is not signed by the key")

// verify checks that the key signed the statement's raw bytes and that the statement
// is about d and nothing else. A bundle must satisfy Sigstore's own verifier too; a
// bundle that relies on a certificate instead of a key does not.
func (s stated) verify(d name.Digest, k *key.Public) error {
	_, sigs, err := s.envelope.Raw()
	if err != nil {
		return err
	}
	signed, ok := attest.PreAuth(s.payload), false
	for _, sig := range sigs {
		ok = ok || k.Verify(signed, sig) == nil
	}
	if !ok {
		return errOtherKey
	}
	if !s.statement.About(d.DigestStr()) {
		return fmt.Errorf("it is about another image than %s", d.DigestStr())
	}
	if s.form == Legacy {
		return nil
	}
	return verifyBundle(s.bundle, d, k)
}

// verifyBundle runs sigstore-go over a bundle with one key, offline: without a
// transparency log and without a time, since a plain key has no validity period.
func verifyBundle(data []byte, d name.Digest, k *key.Public) error {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("reading bundle: %w", err)
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(k.Verifier(), time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		return fmt.Errorf("preparing the bundle's check: %w", err)
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(d.DigestStr(), "sha256:"))
	if err != nil {
		return fmt.Errorf("reading digest %s: %w", d.DigestStr(), err)
	}
	if _, err := v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), verify.WithKey())); err != nil {
		return fmt.Errorf("checking bundle: %w", err)
	}
	return nil
}

// verify checks a legacy image signature.
func (s simple) verify(d name.Digest, k *key.Public) error {
	if k.Verify(s.payload, s.sig) != nil {
		return errOtherKey
	}
	var p payload.SimpleContainerImage
	if err := attest.DecodeStrict(s.payload, &p); err != nil {
		return err
	}
	if p.Critical.Type != payload.CosignSignatureType {
		return fmt.Errorf("its type is %.80q, not an image signature", p.Critical.Type)
	}
	if p.Critical.Image.DockerManifestDigest != d.DigestStr() {
		return fmt.Errorf("it is about another image than %s", d.DigestStr())
	}
	return nil
}

// claimedKey is the fingerprint that a bundle says its key has; "" when it says none.
func (s stated) claimedKey() string {
	raw, err := base64.StdEncoding.DecodeString(s.hint)
	if err != nil || len(raw) != 32 {
		return ""
	}
	return "sha256:" + hex.EncodeToString(raw)
}

// sum is how one form of evidence of one type turned out.
type sum struct {
	there    int      // pieces, believed or not
	key      string   // fingerprint of the key that signed the accepted ones
	accepted []stated // in the order found; empty for legacy image signatures
	reasons  []string // why pieces were not accepted
}

func (s *sum) ok() bool { return s.key != "" }

// tryKeys runs a check with each key and remembers the outcome; it reports success.
func (s *sum) tryKeys(keys []*key.Public, check func(*key.Public) error, claimed string) bool {
	s.there++
	reason := ""
	for _, k := range keys {
		err := check(k)
		if err == nil {
			s.key = k.Fingerprint()
			return true
		}
		if reason == "" || !errors.Is(err, errOtherKey) {
			reason = err.Error()
		}
	}
	if claimed != "" && reason == errOtherKey.Error() {
		reason = "it says that it is signed by key " + claimed
	}
	s.reasons = append(s.reasons, reason)
	return false
}

// simples sums up the legacy image signatures.
func (f *found) simples(d name.Digest, keys []*key.Public) *sum {
	s := &sum{}
	for _, x := range f.simple {
		s.tryKeys(keys, func(k *key.Public) error { return x.verify(d, k) }, "")
	}
	return s
}

// statements sums up the statements of one form and predicate type.
func (f *found) statements(d name.Digest, keys []*key.Public, form Format, kind string) *sum {
	s := &sum{}
	for _, x := range f.stated {
		if x.form != form || x.statement.PredicateType != kind {
			continue
		}
		if s.tryKeys(keys, func(k *key.Public) error { return x.verify(d, k) }, x.claimedKey()) {
			s.accepted = append(s.accepted, x)
		}
	}
	return s
}

// agreed gives the statements to judge by: where both forms are there, those that
// stand in both.
func agreed(legacy, bundles *sum) []stated {
	if legacy.there == 0 {
		return bundles.accepted
	}
	if bundles.there == 0 {
		return legacy.accepted
	}
	var out []stated
	for _, l := range legacy.accepted {
		for _, b := range bundles.accepted {
			if bytes.Equal(l.payload, b.payload) {
				out = append(out, l)
				break
			}
		}
	}
	return out
}
