package evidence

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"forge/internal/attest"
	"forge/internal/attest/key"
)

// Evidence is what is attested of one manifest or index.
type Evidence struct {
	Subject    string // name in the statements, such as the template's
	SBOM       []byte // from attest.SBOM; nil for an index
	Provenance []byte // predicate from attest.Provenance
}

// AttachOptions says how evidence is signed and written.
type AttachOptions struct {
	Key    *key.Private
	Format Format
	Remote []remote.Option // transport, credentials
}

// Attach signs the evidence of one manifest that is in the registry already, and writes
// it there; the image signature comes last, so a signed manifest is an attested one.
//
// A rerun adds nothing: a statement that is there already, byte for byte and signed by
// the same key, is used again, and only a form that is missing is written. The number
// of pieces written is returned. Evidence of others is kept. Two concurrent calls for
// one digest may lose a piece of one of them (registries have no conditional writes);
// running again mends it.
func Attach(ctx context.Context, d name.Digest, ev Evidence, o AttachOptions) (written int, err error) {
	r, err := newRepo(o.Remote)
	if err != nil {
		return 0, err
	}
	have, err := r.read(ctx, d)
	if err != nil {
		return 0, err
	}
	subject, err := r.subject(ctx, d)
	if err != nil {
		return 0, err
	}
	pusher, err := remote.NewPusher(append(slices.Clone(o.Remote), remote.Reuse(r.puller))...)
	if err != nil {
		return 0, fmt.Errorf("preparing registry access: %w", err)
	}
	a := &attaching{AttachOptions: o, ctx: ctx, d: d, have: have, subject: subject, pusher: pusher}
	if err := a.all(ev); err != nil {
		return a.written, err
	}
	return a.written, nil
}

type attaching struct {
	AttachOptions
	ctx     context.Context
	d       name.Digest
	have    *found
	subject v1.Descriptor
	pusher  *remote.Pusher
	written int
}

// subject asks the registry for the descriptor that referrers name.
func (r *repo) subject(ctx context.Context, d name.Digest) (v1.Descriptor, error) {
	desc, err := r.puller.Head(ctx, d)
	if err != nil {
		return v1.Descriptor{}, fault(err, "looking up", d)
	}
	return v1.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}, nil
}

func (a *attaching) all(ev Evidence) error {
	predicates := []struct {
		kind string
		data []byte
	}{{attest.TypeCycloneDX, ev.SBOM}, {attest.TypeProvenance, ev.Provenance}}
	var layers []mutate.Addendum
	for _, p := range predicates {
		if p.data == nil {
			continue
		}
		statement, err := attest.NewStatement(ev.Subject, a.d.DigestStr(), p.kind, p.data)
		if err != nil {
			return err
		}
		layer, err := a.statement(p.kind, statement)
		if err != nil {
			return err
		}
		layers = append(layers, layer...)
	}
	if err := a.legacy("att", a.have.att, layers); err != nil {
		return err
	}
	if err := a.rawSBOM(ev.SBOM); err != nil {
		return err
	}
	return a.sign()
}

// statement writes the bundle of a statement, and gives its legacy layer for the .att
// manifest; either only where it is missing.
func (a *attaching) statement(kind string, statement []byte) ([]mutate.Addendum, error) {
	var env *attest.Envelope
	inLegacy, inBundle := false, false
	for i, s := range a.have.stated {
		if !bytes.Equal(s.payload, statement) || s.verify(a.d, &a.Key.Public) != nil {
			continue
		}
		env = &a.have.stated[i].envelope
		inLegacy = inLegacy || s.form == Legacy
		inBundle = inBundle || s.form == Bundle
	}
	if env == nil {
		sig, err := a.Key.Sign(attest.PreAuth(statement))
		if err != nil {
			return nil, fmt.Errorf("signing %s statement: %w", kind, err)
		}
		e := attest.NewEnvelope(statement, sig)
		env = &e
	}
	data, err := env.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding %s statement: %w", kind, err)
	}
	if a.Format.bundle() && !inBundle {
		if err := a.bundle(kind, data); err != nil {
			return nil, err
		}
	}
	if !a.Format.legacy() || inLegacy || kind == attest.TypeSignature {
		return nil, nil
	}
	return []mutate.Addendum{{
		Layer:       static.NewLayer(data, mediaEnvelope),
		Annotations: map[string]string{annotationSignature: "", annotationPredicate: kind},
	}}, nil
}

// sign writes the image signature: the sign/v1 bundle and the simplesigning layer.
func (a *attaching) sign() error {
	if a.Format.bundle() {
		statement, err := attest.SignatureStatement(a.d.DigestStr())
		if err != nil {
			return err
		}
		if _, err := a.statement(attest.TypeSignature, statement); err != nil {
			return err
		}
	}
	if !a.Format.legacy() {
		return nil
	}
	data, err := payload.Cosign{Image: a.d}.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encoding signature payload: %w", err)
	}
	if slices.ContainsFunc(a.have.simple, func(s simple) bool {
		return bytes.Equal(s.payload, data) && a.Key.Verify(s.payload, s.sig) == nil
	}) {
		return nil
	}
	sig, err := a.Key.Sign(data)
	if err != nil {
		return fmt.Errorf("signing %s: %w", a.d, err)
	}
	return a.legacy("sig", a.have.sig, []mutate.Addendum{{
		Layer:       static.NewLayer(data, mediaSimpleSigning),
		Annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)},
	}})
}

// legacy appends layers to the manifest under a legacy tag.
func (a *attaching) legacy(suffix string, base v1.Image, layers []mutate.Addendum) error {
	if len(layers) == 0 {
		return nil
	}
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	tag := legacyTag(a.d, suffix)
	img, err := mutate.Append(base, layers...)
	if err != nil {
		return fmt.Errorf("building %s: %w", tag, err)
	}
	if err := a.pusher.Push(a.ctx, tag, img); err != nil {
		return fault(err, "writing", tag)
	}
	a.written += len(layers)
	return nil
}

func (a *attaching) bundle(kind string, envelope []byte) error {
	b := bundleJSON{MediaType: mediaBundle, Envelope: envelope}
	b.Material.PublicKey.Hint = a.Key.Hint()
	data, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encoding bundle: %w", err)
	}
	return a.referrer(mediaBundle, data, map[string]string{
		annotationContent: "dsse-envelope",
		annotationType:    kind,
	})
}

// rawSBOM writes the unsigned copy of the SBOM that Trivy reads.
func (a *attaching) rawSBOM(sbom []byte) error {
	same := func(b []byte) bool { return bytes.Equal(b, sbom) }
	if sbom == nil || !a.Format.bundle() || slices.ContainsFunc(a.have.sboms, same) {
		return nil
	}
	return a.referrer(mediaCycloneDX, sbom, nil)
}

// referrer writes one blob as an OCI 1.1 artifact about the subject. The manifest has
// no time in it, so the same blob gives the same manifest. Where the registry has no
// referrers API, the client library keeps the fallback tag's index; calls are one
// after the other, since that is a read and a write.
func (a *attaching) referrer(kind types.MediaType, data []byte, annotations map[string]string) error {
	blobs := []v1.Layer{static.NewLayer([]byte("{}"), mediaEmpty), static.NewLayer(data, kind)}
	var descs []v1.Descriptor
	for _, b := range blobs {
		if err := a.pusher.Upload(a.ctx, a.d.Context(), b); err != nil {
			return fault(err, "writing evidence of", a.d)
		}
		desc, err := describe(b)
		if err != nil {
			return err
		}
		descs = append(descs, desc)
	}
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  string(kind),
		Config:        descs[0],
		Layers:        descs[1:],
		Subject:       &a.subject,
		Annotations:   annotations,
	})
	if err != nil {
		return fmt.Errorf("encoding referrer: %w", err)
	}
	sum, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("hashing referrer: %w", err)
	}
	ref := a.d.Context().Digest(sum.String())
	if err := a.pusher.Put(a.ctx, ref, rawManifest(raw)); err != nil {
		return fault(err, "writing", ref)
	}
	a.written++
	return nil
}

func describe(l v1.Layer) (v1.Descriptor, error) {
	digest, err := l.Digest()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("hashing evidence: %w", err)
	}
	size, err := l.Size()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("measuring evidence: %w", err)
	}
	kind, err := l.MediaType()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("typing evidence: %w", err)
	}
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}, nil
}

// rawManifest is an encoded OCI image manifest, ready to be put.
type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
