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
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"forge/internal/attest"
	"forge/internal/attest/key"
	"forge/internal/registry"
)

// Evidence is what is attested of one manifest or index.
type Evidence struct {
	Subject    string // name in the statements, such as the template's
	SBOM       []byte // from attest.SBOM; nil for an index
	Provenance []byte // predicate from attest.Provenance
}

// AttachOptions says how evidence is signed and written.
type AttachOptions struct {
	Registry *registry.Client
	Key      *key.Private
	Format   Format
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
	have, err := read(ctx, o.Registry, d)
	if err != nil {
		return 0, err
	}
	_, subject, err := o.Registry.Manifest(ctx, d)
	if err != nil {
		return 0, err
	}
	a := &attaching{AttachOptions: o, ctx: ctx, d: d, have: have, subject: subject}
	err = a.all(ev)
	return a.written, err
}

type attaching struct {
	AttachOptions
	ctx     context.Context
	d       name.Digest
	have    *found
	subject v1.Descriptor
	written int
}

func (a *attaching) all(ev Evidence) error {
	predicates := []struct {
		kind string
		data []byte
	}{{attest.TypeCycloneDX, ev.SBOM}, {attest.TypeProvenance, ev.Provenance}}
	var layers []legacyLayer
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
func (a *attaching) statement(kind string, statement []byte) ([]legacyLayer, error) {
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
	return []legacyLayer{{mediaEnvelope, data, map[string]string{annotationSignature: "", annotationPredicate: kind}}}, nil
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
	return a.legacy("sig", a.have.sig, []legacyLayer{{mediaSimpleSigning, data, map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}}})
}

// legacyLayer is one signature or statement in the legacy form.
type legacyLayer struct {
	kind        types.MediaType
	data        []byte
	annotations map[string]string
}

// legacy adds layers to the manifest under a legacy tag; base is what stands there.
func (a *attaching) legacy(suffix string, base *v1.Manifest, layers []legacyLayer) error {
	if len(layers) == 0 {
		return nil
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config := &v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}}
	if base != nil {
		m.Layers, m.Annotations = slices.Clone(base.Layers), base.Annotations
		var err error
		if config, err = readConfig(a.ctx, a.Registry, a.d.Context(), base); err != nil {
			return err
		}
	}
	var blobs [][]byte
	for _, l := range layers {
		desc, err := describe(l.kind, l.data)
		if err != nil {
			return err
		}
		desc.Annotations = l.annotations
		m.Layers = append(m.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
		blobs = append(blobs, l.data)
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encoding legacy evidence: %w", err)
	}
	if m.Config, err = describe(types.OCIConfigJSON, encoded); err != nil {
		return err
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding legacy evidence: %w", err)
	}
	if err := a.Registry.Write(a.ctx, legacyTag(a.d, suffix), manifest, append(blobs, encoded)...); err != nil {
		return err
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
// no time in it, so the same blob gives the same manifest.
func (a *attaching) referrer(kind types.MediaType, data []byte, annotations map[string]string) error {
	empty := []byte("{}")
	config, err := describe(mediaEmpty, empty)
	if err != nil {
		return err
	}
	layer, err := describe(kind, data)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  string(kind),
		Config:        config,
		Layers:        []v1.Descriptor{layer},
		Subject:       &a.subject,
		Annotations:   annotations,
	})
	if err != nil {
		return fmt.Errorf("encoding referrer: %w", err)
	}
	if _, err := a.Registry.Attach(a.ctx, a.d.Context(), manifest, empty, data); err != nil {
		return err
	}
	a.written++
	return nil
}

func describe(kind types.MediaType, data []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("hashing evidence: %w", err)
	}
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}, nil
}
