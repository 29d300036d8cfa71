package evidence

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"forge/internal/attest"
	"forge/internal/attest/key"
	"forge/internal/diag"
	"forge/internal/registry"
)

// maxImages bounds the images of one index.
const maxImages = 64

// VerifyOptions says what Verify accepts.
type VerifyOptions struct {
	Registry *registry.Client
	Keys     []*key.Public // one of them must have signed each piece
}

// Verify checks, from the registry alone and offline otherwise, that an image or an
// index and all its images are signed and attested by one of the keys, and that each
// image's SBOM names exactly the packages that its layers hold.
//
// A form of evidence (legacy, bundle) that is there must stand; where both are there,
// they must agree. The report is whole whenever the evidence could be read; the error
// is then that of the first fault: NoSignature, SignatureWrong, EvidenceMissing or
// SBOMDiffers.
func Verify(ctx context.Context, d name.Digest, o VerifyOptions) (*Report, error) {
	if len(o.Keys) == 0 {
		return nil, diag.Errorf(diag.KeyInvalid, "Give the publisher's public key with --key.", "verifying %s: no public key given", d)
	}
	rep := &Report{Version: 1, Image: d.Name(), Verified: true}
	for _, k := range o.Keys {
		rep.Keys = append(rep.Keys, k.Fingerprint())
	}
	r := verifying{o.Registry, ctx}
	targets, err := r.targets(d)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		c, err := r.check(t, o.Keys)
		if err != nil {
			return nil, err
		}
		rep.Checked = append(rep.Checked, *c)
		rep.Verified = rep.Verified && len(c.Faults) == 0
	}
	return rep, rep.err()
}

// err is the first fault's error, or nil.
func (r *Report) err() error {
	for _, c := range r.Checked {
		for _, f := range c.Faults {
			return diag.Errorf(f.ID, "", "verifying %s: %s", c.Digest, f.Detail)
		}
	}
	return nil
}

// target is one thing to check: an index, or an image.
type target struct {
	digest   name.Digest
	platform string
	image    bool
}

type verifying struct {
	registry *registry.Client
	ctx      context.Context
}

// targets lists an index and its images, or just the image.
func (v verifying) targets(d name.Digest) ([]target, error) {
	raw, desc, err := v.registry.Manifest(v.ctx, d)
	if err != nil {
		return nil, err
	}
	if desc.MediaType.IsImage() {
		return v.oneImage(raw, d)
	}
	if !desc.MediaType.IsIndex() {
		return nil, diag.Errorf(diag.EvidenceMissing, "", "verifying %s: it is neither an image nor an index but %.80q", d, desc.MediaType)
	}
	im, err := parseIndex(raw)
	if err != nil {
		return nil, diag.Errorf(diag.RegistryFault, "", "reading %s: %w", d, err)
	}
	out := []target{{digest: d}}
	for _, m := range im.Manifests {
		if !m.MediaType.IsImage() {
			return nil, diag.Errorf(diag.EvidenceMissing, "", "verifying %s: it holds a %.80q, which cannot be checked", d, m.MediaType)
		}
		platform := "unknown"
		if m.Platform != nil {
			platform = m.Platform.String()
		}
		out = append(out, target{d.Context().Digest(m.Digest.String()), platform, true})
	}
	return out, nil
}

// oneImage is the target of a reference to an image itself.
func (v verifying) oneImage(raw []byte, d name.Digest) ([]target, error) {
	m, err := parseManifest(raw)
	if err != nil {
		return nil, diag.Errorf(diag.RegistryFault, "", "reading %s: %w", d, err)
	}
	config, err := readConfig(v.ctx, v.registry, d.Context(), m)
	if err != nil {
		return nil, err
	}
	platform := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	return []target{{d, cmp.Or(platform.String(), "unknown"), true}}, nil
}

func readConfig(ctx context.Context, c *registry.Client, repo name.Repository, m *v1.Manifest) (*v1.ConfigFile, error) {
	if m.Config.Size > maxManifest {
		return nil, diag.Errorf(diag.TooLarge, "", "reading config %s of %s: %d bytes are more than is read", m.Config.Digest, repo, m.Config.Size)
	}
	rc, err := c.Blob(ctx, repo, m.Config)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(rc) // to its end, where the digest is checked
	if err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, diag.Errorf(diag.RegistryFault, "", "reading config %s of %s: %w", m.Config.Digest, repo, err)
	}
	return config, nil
}

func parseIndex(data []byte) (*v1.IndexManifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("its manifest has %d bytes; at most %d are read", len(data), maxManifest)
	}
	var m struct {
		v1.IndexManifest
		Layers json.RawMessage `json:"layers"`
		Config json.RawMessage `json:"config"`
	}
	if err := attest.DecodeStrict(data, &m); err != nil {
		return nil, err
	}
	if m.Layers != nil || m.Config != nil {
		return nil, fmt.Errorf("it is a manifest and an index at once")
	}
	if n := len(m.Manifests); n == 0 || n > maxImages {
		return nil, fmt.Errorf("it holds %d images; 1 to %d are allowed", n, maxImages)
	}
	return &m.IndexManifest, nil
}

// check judges one target. The error is of the registry; faults of the evidence are
// in the result.
func (v verifying) check(t target, keys []*key.Public) (*Checked, error) {
	f, err := read(v.ctx, v.registry, t.digest)
	if err != nil {
		return nil, err
	}
	c := &Checked{Digest: t.digest.DigestStr(), Platform: t.platform, Ignored: f.unread}
	legacy, bundles := f.simples(t.digest, keys), f.statements(t.digest, keys, Bundle, attest.TypeSignature)
	c.judge(attest.TypeSignature, keys, legacy, bundles)
	c.statement(f, t.digest, keys, attest.TypeProvenance)
	if !t.image {
		return c, nil
	}
	sboms := c.statement(f, t.digest, keys, attest.TypeCycloneDX)
	if len(sboms) == 0 {
		return c, nil
	}
	return c, v.checkSBOMs(c, t, sboms, f.sboms)
}

// statement judges one kind of statement, and gives those to go by.
func (c *Checked) statement(f *found, d name.Digest, keys []*key.Public, kind string) []stated {
	legacy, bundles := f.statements(d, keys, Legacy, kind), f.statements(d, keys, Bundle, kind)
	if !c.judge(kind, keys, legacy, bundles) {
		return nil
	}
	both := agreed(legacy, bundles)
	if len(both) == 0 {
		c.fault(diag.SignatureWrong, "the %s in the .att tag and the one in the bundle differ", shortType(kind))
	}
	return both
}

// judge decides on one kind of evidence: each form that is there must have a piece
// that one of the keys signed for this digest.
func (c *Checked) judge(kind string, keys []*key.Public, legacy, bundles *sum) bool {
	if legacy.there+bundles.there == 0 {
		if kind == attest.TypeSignature {
			c.fault(diag.NoSignature, "it has no image signature")
		} else {
			c.fault(diag.EvidenceMissing, "it has no signed %s", shortType(kind))
		}
		return false
	}
	p, good := Piece{Type: kind}, true
	for _, form := range []struct {
		name Format
		*sum
	}{{Bundle, bundles}, {Legacy, legacy}} { // bundles first: they say whose they are
		switch {
		case form.there == 0:
		case form.ok():
			p.Forms, p.Key = append(p.Forms, form.name), form.key
			for _, reason := range form.reasons {
				c.Ignored = append(c.Ignored, fmt.Sprintf("another %s (%s): %s", shortType(kind), form.name, reason))
			}
		default:
			good = false
			c.fault(diag.SignatureWrong, "its %s (%s) does not verify with key %s: %s",
				shortType(kind), form.name, fingerprints(keys), form.reasons[0])
		}
	}
	if good {
		c.Evidence = append(c.Evidence, p)
	}
	return good
}

// checkSBOMs compares each agreed SBOM with what the image's layers hold, and the raw
// copies with the signed ones.
func (v verifying) checkSBOMs(c *Checked, t target, signed []stated, raw [][]byte) error {
	held, err := v.packages(t.digest)
	if diag.IDOf(err) == diag.SBOMDiffers {
		c.fault(diag.SBOMDiffers, "what the image holds cannot be told: %s", err)
		return nil
	}
	if err != nil {
		return err
	}
	good := true
	for _, s := range signed {
		if detail := differs(s.statement.Predicate, held); detail != "" {
			good = false
			c.fault(diag.SBOMDiffers, "%s", detail)
		}
	}
	for _, b := range raw {
		if !oneOf(b, signed) {
			good = false
			c.fault(diag.SBOMDiffers, "an unsigned CycloneDX document beside it differs from the signed one")
		}
	}
	if good {
		c.Packages = len(held)
	}
	return nil
}

// packages lists what an image holds, reading all its layers.
func (v verifying) packages(d name.Digest) ([]Package, error) {
	raw, _, err := v.registry.Manifest(v.ctx, d)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, diag.Errorf(diag.RegistryFault, "", "reading %s: %w", d, err)
	}
	var layers []Layer
	for _, l := range m.Layers {
		layers = append(layers, func() (io.ReadCloser, error) { return v.registry.Blob(v.ctx, d.Context(), l) })
	}
	held, err := Packages(v.ctx, layers)
	if err != nil && diag.IDOf(err) == "" && v.ctx.Err() == nil {
		err = diag.Errorf(diag.RegistryFault, "", "reading the layers of %s: %w", d, err)
	}
	return held, err
}

func oneOf(raw []byte, signed []stated) bool {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return false
	}
	for _, s := range signed {
		if bytes.Equal(compact.Bytes(), s.statement.Predicate) {
			return true
		}
	}
	return false
}

func (c *Checked) fault(id diag.ID, format string, args ...any) {
	c.Faults = append(c.Faults, Fault{ID: id, Detail: fmt.Sprintf(format, args...)})
}

func fingerprints(keys []*key.Public) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Fingerprint())
	}
	return strings.Join(all, " or ")
}

// shortType is a predicate type in a word.
func shortType(kind string) string {
	switch kind {
	case attest.TypeSignature:
		return "signature"
	case attest.TypeCycloneDX:
		return "SBOM"
	case attest.TypeProvenance:
		return "provenance"
	}
	return kind
}
