package release

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"forge/internal/diag"
)

// ClockTolerance is how far ahead of this machine's clock a signature or a Date may
// be; apt's is the same.
const ClockTolerance = 10 * time.Second

const (
	maxKeyring    = 4 << 20
	maxSignatures = 16
	minRSABits    = 2048
)

// Keyring is the keys that an archive may be signed with.
type Keyring struct {
	keys     openpgp.EntityList
	signedBy []string // normalised fingerprints; empty accepts every key
}

// ParseKeyring reads OpenPGP public keys, armored or binary. When signedBy is not
// empty, only those fingerprints are accepted: of a primary key with its subkeys, or,
// with "!" at the end, of exactly one key.
func ParseKeyring(data []byte, signedBy []string) (Keyring, error) {
	if len(data) > maxKeyring {
		return Keyring{}, diag.Errorf(diag.TooLarge, "", "the keyring has more than %d bytes", maxKeyring)
	}
	keys, err := readKeys(data)
	if err != nil {
		return Keyring{}, diag.Errorf(diag.InvalidTemplate, "Name a file of OpenPGP public keys.", "reading the keyring: %w", err)
	}
	k := Keyring{keys: keys}
	for _, f := range signedBy {
		f = strings.ToUpper(strings.ReplaceAll(f, " ", ""))
		if n := len(strings.TrimSuffix(f, "!")); n != 40 && n != 64 {
			return Keyring{}, diag.Errorf(diag.InvalidTemplate, "Write whole fingerprints, of 40 hexadecimal digits.", "reading signed_by: %q is not a fingerprint", f)
		}
		k.signedBy = append(k.signedBy, f)
	}
	return k, nil
}

// readKeys reads one or several armored blocks, or binary keys.
func readKeys(data []byte) (openpgp.EntityList, error) {
	const begin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	if !bytes.Contains(data, []byte(begin)) {
		return openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	var all openpgp.EntityList
	for rest := data; bytes.Contains(rest, []byte(begin)); {
		rest = rest[bytes.Index(rest, []byte(begin)):]
		next := bytes.Index(rest[len(begin):], []byte(begin))
		block := rest
		if next >= 0 {
			block = rest[:len(begin)+next]
		}
		rest = rest[len(block):]
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(block))
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return all, nil
}

// Read verifies an InRelease and parses what the verifier returned, nothing else.
// Time and identity are not judged yet: see CheckTime, CheckIdentity.
func Read(inRelease []byte, keyring Keyring, now time.Time) (*Release, error) {
	if len(inRelease) > MaxSize {
		return nil, diag.Errorf(diag.TooLarge, "", "the release file has more than %d bytes", MaxSize)
	}
	text, signer, err := keyring.verify(inRelease, now)
	if err != nil {
		return nil, err
	}
	r, err := parse(string(text))
	if err != nil && diag.IDOf(err) == "" {
		err = diag.Errorf(diag.MalformedIndex, "", "reading the release file: %w", err)
	}
	if err != nil {
		return nil, err
	}
	r.Signer = signer
	return r, nil
}

// verify gives the signed text and the fingerprint of the primary key that signed it.
// One good signature suffices; the others are passed over, so that an archive can
// change its keys.
func (k Keyring) verify(inRelease []byte, now time.Time) (text []byte, signer string, err error) {
	if err := checkFraming(inRelease); err != nil {
		return nil, "", diag.Errorf(diag.BadSignature, "", "reading the signed release file: %w", err)
	}
	block, rest := clearsign.Decode(inRelease)
	if block == nil || len(rest) > 0 {
		return nil, "", diag.Errorf(diag.BadSignature, "", "reading the signed release file: the signature's armor is broken")
	}
	signatures, err := readSignatures(block.ArmoredSignature)
	if err != nil {
		return nil, "", diag.Errorf(diag.BadSignature, "", "reading the release file's signature: %w", err)
	}
	id, reasons := diag.BadSignature, []string(nil)
	for _, s := range signatures {
		signer, err := k.check(block.Bytes, s, now)
		if err == nil {
			return block.Plaintext, signer, nil
		}
		if diag.IDOf(err) == diag.WeakAlgorithm {
			id = diag.WeakAlgorithm
		}
		reasons = append(reasons, err.Error())
	}
	return nil, "", diag.Errorf(id, "", "the release file has no acceptable signature: %s", strings.Join(reasons, "; "))
}

// checkFraming holds the file to exactly one clear-signed message, so that no byte
// outside the signature is ever looked at, by us or by a person. The reader below is
// more lenient (CVE-2013-1051 came of such a difference).
func checkFraming(data []byte) error {
	if i := bytes.IndexAny(data, "\x00\r"); i >= 0 {
		return fmt.Errorf("byte %d is a NUL or carriage return", i)
	}
	state := 0 // lines seen so far: 0 nothing, 1 header, 2 text, 3 signature, 4 end
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) > maxLine {
			return fmt.Errorf("line %d is longer than %d bytes", number, maxLine)
		}
		var ok bool
		if state, ok = framingStep(state, string(line)); !ok {
			return fmt.Errorf("line %d does not belong there", number)
		}
	}
	if state != 4 {
		return fmt.Errorf("the file is not a complete clear-signed message")
	}
	return nil
}

func framingStep(state int, line string) (int, bool) {
	switch state {
	case 0:
		return 1, line == "-----BEGIN PGP SIGNED MESSAGE-----"
	case 1:
		if line == "" {
			return 2, true
		}
		return 1, strings.HasPrefix(line, "Hash: ")
	case 2:
		if line == "-----BEGIN PGP SIGNATURE-----" {
			return 3, true
		}
		return 2, !strings.HasPrefix(line, "-") || strings.HasPrefix(line, "- ")
	case 3:
		if line == "-----END PGP SIGNATURE-----" {
			return 4, true
		}
		return 3, !strings.HasPrefix(line, "-") && line == strings.TrimSpace(line)
	}
	return 4, line == ""
}

// readSignatures splits an armored signature into its packets; anything but
// signatures (a payload, for instance) is a fault.
func readSignatures(block *armor.Block) ([]*packet.Signature, error) {
	var all []*packet.Signature
	packets := packet.NewReader(block.Body)
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		s, ok := p.(*packet.Signature)
		if !ok {
			return nil, errors.New("something that is no signature stands in the signature block")
		}
		if all = append(all, s); len(all) > maxSignatures {
			return nil, fmt.Errorf("more than %d signatures", maxSignatures)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no signature is there")
	}
	return all, nil
}

// check verifies one signature and gives the primary key's fingerprint.
func (k Keyring) check(signed []byte, s *packet.Signature, now time.Time) (string, error) {
	if s.IssuerKeyId == nil {
		return "", errors.New("a signature names no key")
	}
	name := fmt.Sprintf("key %016X", *s.IssuerKeyId)
	switch s.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return "", diag.Errorf(diag.WeakAlgorithm, "", "%s signed with the weak hash %v", name, s.Hash)
	}
	var raw bytes.Buffer
	if err := s.Serialize(&raw); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	config := &packet.Config{Time: func() time.Time { return now.Add(ClockTolerance) }}
	_, entity, err := openpgp.VerifyDetachedSignature(k.keys, bytes.NewReader(signed), &raw, config)
	if errors.Is(err, pgperrors.ErrUnknownIssuer) {
		return "", fmt.Errorf("%s is not in the keyring", name)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	primary := fingerprint(entity.PrimaryKey)
	for _, key := range k.keys.KeysById(*s.IssuerKeyId) {
		if key.Entity != entity {
			continue
		}
		if bits, err := key.PublicKey.BitLength(); isRSA(key.PublicKey) && (err != nil || bits < minRSABits) {
			return "", diag.Errorf(diag.WeakAlgorithm, "", "%s is an RSA key of only %d bits", name, bits)
		}
		if key.PublicKey.PubKeyAlgo == packet.PubKeyAlgoDSA {
			return "", diag.Errorf(diag.WeakAlgorithm, "", "%s is a DSA key", name)
		}
		if k.accepts(primary, fingerprint(key.PublicKey)) {
			return primary, nil
		}
	}
	return "", fmt.Errorf("%s (fingerprint %s) is not one that signed_by names", name, primary)
}

func (k Keyring) accepts(primary, exact string) bool {
	if len(k.signedBy) == 0 {
		return true
	}
	for _, f := range k.signedBy {
		only, pinned := strings.CutSuffix(f, "!")
		if pinned && only == exact || !pinned && (f == primary || f == exact) {
			return true
		}
	}
	return false
}

func isRSA(k *packet.PublicKey) bool {
	return k.PubKeyAlgo == packet.PubKeyAlgoRSA || k.PubKeyAlgo == packet.PubKeyAlgoRSASignOnly
}

func fingerprint(k *packet.PublicKey) string {
	return strings.ToUpper(hex.EncodeToString(k.Fingerprint))
}
