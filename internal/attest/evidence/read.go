package evidence

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"forge/internal/attest"
	"forge/internal/diag"
	"forge/internal/registry"
)

// found is everything attached to one digest, read but not yet believed.
type found struct {
	simple   []simple
	stated   []stated
	sboms    [][]byte     // raw CycloneDX referrers
	unread   []string     // what could not be read, and why
	sig, att *v1.Manifest // under the legacy tags; nil where there are none
}

// simple is a legacy image signature: a simplesigning payload and its signature.
type simple struct {
	payload, sig []byte
}

// stated is one signed statement, in either form.
type stated struct {
	form      Format // Legacy or Bundle
	envelope  attest.Envelope
	payload   []byte
	statement attest.Statement
	bundle    []byte // the whole bundle; nil in the legacy form
	hint      string // which key the bundle says it is signed with
}

// reading bounds the bytes of one digest's evidence.
type reading struct {
	registry *registry.Client
	ctx      context.Context
	d        name.Digest
	left     int64
	out      found
}

// read collects what is attached to a digest in both forms.
func read(ctx context.Context, c *registry.Client, d name.Digest) (*found, error) {
	rd := &reading{registry: c, ctx: ctx, d: d, left: maxTotal}
	for _, step := range []func() error{rd.signatures, rd.attestations, rd.referrers} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &rd.out, nil
}

func (r *reading) signatures() error {
	m, err := r.legacy("sig")
	if m == nil || err != nil {
		return err
	}
	r.out.sig = m
	for _, l := range m.Layers {
		if l.MediaType != mediaSimpleSigning {
			continue
		}
		payload, err := r.blob(l)
		if err != nil {
			return err
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(l.Annotations[annotationSignature])
		if err != nil || len(sig) == 0 {
			r.skip("signature layer "+l.Digest.String(), fmt.Errorf("it carries no base64 signature"))
			continue
		}
		r.out.simple = append(r.out.simple, simple{payload, sig})
	}
	return nil
}

func (r *reading) attestations() error {
	m, err := r.legacy("att")
	if m == nil || err != nil {
		return err
	}
	r.out.att = m
	for _, l := range m.Layers {
		if l.MediaType != mediaEnvelope {
			continue
		}
		data, err := r.blob(l)
		if err != nil {
			return err
		}
		s, err := newStated(Legacy, data)
		if err != nil {
			r.skip("attestation layer "+l.Digest.String(), err)
			continue
		}
		r.out.stated = append(r.out.stated, s)
	}
	return nil
}

// legacy reads what stands under a legacy tag; nil when nothing does.
func (r *reading) legacy(suffix string) (*v1.Manifest, error) {
	tag := legacyTag(r.d, suffix)
	raw, _, err := r.registry.Manifest(r.ctx, tag)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, diag.Errorf(diag.RegistryFault, "", "reading %s: %w", tag, err)
	}
	if len(m.Layers) > maxPieces {
		return nil, diag.Errorf(diag.TooLarge, "", "reading %s: it has %d layers; at most %d are read", tag, len(m.Layers), maxPieces)
	}
	return m, nil
}

func (r *reading) referrers() error {
	all, err := r.registry.Referrers(r.ctx, r.d)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(d v1.Descriptor) bool { return !mayBeEvidence(d) })
	if len(all) > maxPieces {
		return diag.Errorf(diag.TooLarge, "", "listing referrers of %s: %d pieces of evidence; at most %d are read", r.d, len(all), maxPieces)
	}
	for _, desc := range all {
		if err := r.referrer(desc); err != nil {
			return err
		}
	}
	return nil
}

// mayBeEvidence filters by artifact type, but keeps those whose registry lists the
// config's media type instead of the manifest's own artifactType.
func mayBeEvidence(d v1.Descriptor) bool {
	switch types.MediaType(d.ArtifactType) {
	case "", mediaEmpty, mediaBundle, mediaCycloneDX:
		return d.MediaType == types.OCIManifestSchema1
	}
	return false
}

func (r *reading) referrer(desc v1.Descriptor) error {
	ref := r.d.Context().Digest(desc.Digest.String())
	raw, _, err := r.registry.Manifest(r.ctx, ref)
	if absent(err) {
		r.skip("referrer "+desc.Digest.String(), fmt.Errorf("listed, but not there"))
		return nil
	}
	if err != nil {
		return err
	}
	m, err := parseManifest(raw)
	if err == nil && (m.Subject == nil || m.Subject.Digest.String() != r.d.DigestStr()) {
		err = fmt.Errorf("its subject is another manifest")
	}
	if err == nil && len(m.Layers) != 1 {
		err = fmt.Errorf("it has %d layers, not one", len(m.Layers))
	}
	if err != nil {
		r.skip("referrer "+desc.Digest.String(), err)
		return nil
	}
	return r.content(m.Layers[0], types.MediaType(m.ArtifactType))
}

// content reads the one layer of a referrer, if it is of a kind that forge knows.
func (r *reading) content(layer v1.Descriptor, artifact types.MediaType) error {
	if layer.MediaType != artifact || (artifact != mediaBundle && artifact != mediaCycloneDX) {
		return nil
	}
	data, err := r.blob(layer)
	if err != nil {
		return err
	}
	if artifact == mediaCycloneDX {
		r.out.sboms = append(r.out.sboms, data)
		return nil
	}
	s, err := parseBundle(data)
	if err != nil {
		r.skip("bundle "+layer.Digest.String(), err)
		return nil
	}
	r.out.stated = append(r.out.stated, s)
	return nil
}

// blob reads a blob whole; digest and size are checked on the way.
func (r *reading) blob(d v1.Descriptor) ([]byte, error) {
	ref := r.d.Context().Digest(d.Digest.String())
	if d.Size < 0 || d.Size > maxBlob || d.Size > r.left {
		return nil, diag.Errorf(diag.TooLarge, "", "reading %s: evidence of %d bytes is more than is read", ref, d.Size)
	}
	r.left -= d.Size
	rc, err := r.registry.Blob(r.ctx, r.d.Context(), d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// skip notes evidence that cannot be read; it never counts.
func (r *reading) skip(what string, why error) {
	r.out.unread = append(r.out.unread, fmt.Sprintf("%s: %s", what, why))
}

func newStated(form Format, envelope []byte) (stated, error) {
	e, err := attest.ParseEnvelope(envelope)
	if err != nil {
		return stated{}, err
	}
	payload, _, err := e.Raw()
	if err != nil {
		return stated{}, err
	}
	s, err := attest.ParseStatement(payload)
	if err != nil {
		return stated{}, err
	}
	return stated{form: form, envelope: e, payload: payload, statement: s}, nil
}

// bundleJSON is the part of a Sigstore bundle that a signature by a plain key uses.
type bundleJSON struct {
	MediaType types.MediaType `json:"mediaType"`
	Material  material        `json:"verificationMaterial"`
	Envelope  json.RawMessage `json:"dsseEnvelope"`
}

type material struct {
	PublicKey struct {
		Hint string `json:"hint"`
	} `json:"publicKey"`
}

func parseBundle(data []byte) (stated, error) {
	var b bundleJSON
	if err := attest.DecodeStrict(data, &b); err != nil {
		return stated{}, fmt.Errorf("parsing bundle: %w", err)
	}
	if b.MediaType != mediaBundle {
		return stated{}, fmt.Errorf("parsing bundle: its media type is %.80q", b.MediaType)
	}
	s, err := newStated(Bundle, b.Envelope)
	if err != nil {
		return stated{}, fmt.Errorf("parsing bundle: %w", err)
	}
	s.bundle, s.hint = data, b.Material.PublicKey.Hint
	return s, nil
}

// parseManifest reads an image manifest; one that is an index as well is refused.
func parseManifest(data []byte) (*v1.Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("its manifest has %d bytes; at most %d are read", len(data), maxManifest)
	}
	var m struct {
		v1.Manifest
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := attest.DecodeStrict(data, &m); err != nil {
		return nil, err
	}
	if m.Manifests != nil {
		return nil, fmt.Errorf("it is a manifest and an index at once")
	}
	return &m.Manifest, nil
}
