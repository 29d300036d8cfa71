// Package attest makes the evidence of an image as plain bytes: CycloneDX SBOM, SLSA
// provenance, and the in-toto statements and DSSE envelopes that carry them.
//
// Everything here is pure and deterministic: the same input gives the same bytes.
// Keys are in attest/key; storing evidence in a registry and checking it there is in
// attest/evidence.
package attest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
)

// PayloadType is the DSSE payload type of in-toto statements.
const PayloadType = in_toto.PayloadType

// maxSignatures bounds the signatures of one envelope; forge writes one.
const maxSignatures = 16

// Statement is an in-toto statement, version 1: a predicate said of subjects.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is what a statement speaks of.
type Subject struct {
	Name   string           `json:"name,omitempty"`
	Digest common.DigestSet `json:"digest"`
}

// NewStatement makes the bytes of a statement about one image manifest or index.
// digest is "sha256:<hex>"; predicate is JSON and is kept byte for byte when compact.
func NewStatement(name, digest, predicateType string, predicate []byte) ([]byte, error) {
	sum, err := sha256Hex(digest)
	if err != nil {
		return nil, err
	}
	return encode(Statement{
		Type:          in_toto.StatementInTotoV1,
		Subject:       []Subject{{Name: name, Digest: common.DigestSet{"sha256": sum}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	})
}

// SignatureStatement makes the statement that stands for an image signature in the
// bundle format: an empty predicate about the digest.
func SignatureStatement(digest string) ([]byte, error) {
	return NewStatement("", digest, TypeSignature, []byte("{}"))
}

// ParseStatement reads the payload of an envelope. It accepts version 1 only, with a
// predicate type and at least one subject.
func ParseStatement(payload []byte) (Statement, error) {
	var s Statement
	if err := DecodeStrict(payload, &s); err != nil {
		return Statement{}, fmt.Errorf("parsing statement: %w", err)
	}
	switch {
	case s.Type != in_toto.StatementInTotoV1:
		return Statement{}, fmt.Errorf("parsing statement: its type is %.80q, not %q", s.Type, in_toto.StatementInTotoV1)
	case s.PredicateType == "":
		return Statement{}, errors.New("parsing statement: it has no predicate type")
	case len(s.Subject) == 0:
		return Statement{}, errors.New("parsing statement: it has no subject")
	}
	return s, nil
}

// About reports whether the statement speaks of exactly one thing, the given
// "sha256:<hex>".
func (s Statement) About(digest string) bool {
	sum, err := sha256Hex(digest)
	return err == nil && len(s.Subject) == 1 && s.Subject[0].Digest["sha256"] == sum
}

// Envelope is a DSSE envelope. Payload and signatures are as they stand in JSON, in
// base64, so that an envelope read is written back unchanged.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"`
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an Envelope.
type Signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// NewEnvelope wraps a signed statement. sig is over PreAuth(statement).
func NewEnvelope(statement, sig []byte) Envelope {
	return Envelope{
		PayloadType: PayloadType,
		Payload:     base64.StdEncoding.EncodeToString(statement),
		Signatures:  []Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}
}

// Encode gives the envelope's JSON.
func (e Envelope) Encode() ([]byte, error) { return encode(e) }

// ParseEnvelope reads a DSSE envelope of an in-toto statement.
func ParseEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if err := DecodeStrict(data, &e); err != nil {
		return Envelope{}, fmt.Errorf("parsing envelope: %w", err)
	}
	if err := e.check(); err != nil {
		return Envelope{}, fmt.Errorf("parsing envelope: %w", err)
	}
	return e, nil
}

func (e Envelope) check() error {
	if e.PayloadType != PayloadType {
		return fmt.Errorf("payload type is %.80q, not %q", e.PayloadType, PayloadType)
	}
	if n := len(e.Signatures); n == 0 || n > maxSignatures {
		return fmt.Errorf("it has %d signatures; 1 to %d are allowed", n, maxSignatures)
	}
	_, _, err := e.Raw()
	return err
}

// Raw decodes the payload and the signatures.
func (e Envelope) Raw() (statement []byte, sigs [][]byte, err error) {
	if statement, err = base64.StdEncoding.Strict().DecodeString(e.Payload); err != nil {
		return nil, nil, fmt.Errorf("decoding payload: %w", err)
	}
	for i, s := range e.Signatures {
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil {
			return nil, nil, fmt.Errorf("decoding signature %d: %w", i, err)
		}
		sigs = append(sigs, sig)
	}
	return statement, sigs, nil
}

// PreAuth gives the bytes that a signature over a statement covers (DSSE, PAE).
func PreAuth(statement []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(PayloadType), PayloadType, len(statement), statement)
}

// sha256Hex takes the hex part of "sha256:<64 hex>".
func sha256Hex(digest string) (string, error) {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != 32 || strings.ToLower(sum) != sum {
		return "", fmt.Errorf("%.80q is not a sha256 digest", digest)
	}
	return sum, nil
}
