package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/attest"
	"forge/internal/attest/evidence"
	"forge/internal/build"
	"forge/internal/debian/control"
	"forge/internal/lock"
	"forge/internal/spec"
)

// evidenceOf makes the evidence of a result: one piece for each image, in the result's
// order, and one for the index.
func (b *builder) evidenceOf(ctx context.Context, r *build.Result) (images []evidence.Evidence, index evidence.Evidence, err error) {
	var everything []attest.Package
	var all []string
	for _, m := range r.Images {
		packages, err := b.attested(ctx, r.Name, m.Platform)
		if err != nil {
			return nil, index, err
		}
		everything = append(everything, packages...)
		all = append(all, m.Platform)
		sbom, err := b.sbom(r, m, packages)
		if err != nil {
			return nil, index, err
		}
		provenance, err := b.provenance(r, []string{m.Platform}, packages)
		if err != nil {
			return nil, index, err
		}
		images = append(images, evidence.Evidence{Subject: r.Name, SBOM: sbom, Provenance: provenance})
	}
	provenance, err := b.provenance(r, all, everything)
	return images, evidence.Evidence{Subject: r.Name, Provenance: provenance}, err
}

func (b *builder) sbom(r *build.Result, m *build.Image, packages []attest.Package) ([]byte, error) {
	created, err := b.created(r.Name, m.Platform)
	if err != nil {
		return nil, err
	}
	return attest.SBOM(attest.SBOMInput{
		Name: r.Name, Version: r.Version, Platform: m.Platform, Digest: m.Digest().String(),
		Created: created, Forge: b.host.Version, Vendor: b.set.Image(r.Name).Config.Labels[ocispecs.AnnotationVendor],
		Distro: distro(b.lock.Part(b.set, r.Name, m.Platform)), Packages: packages,
	})
}

func (b *builder) provenance(r *build.Result, platforms []string, packages []attest.Package) ([]byte, error) {
	records, err := json.Marshal(effectsAmong(b.effects, packages))
	if err != nil {
		return nil, fmt.Errorf("marshalling script effects: %w", err)
	}
	sum := sha256.Sum256(records)
	kind := "embedded"
	if b.host.Engine != "" {
		kind = "remote"
	}
	part := b.lock.Part(b.set, r.Name, platforms...)
	return attest.Provenance(attest.ProvenanceInput{
		Template: r.Name, Version: r.Version, Platforms: platforms, Variables: b.set.Variables,
		SpecDigest: b.set.ImageDigest(r.Name), LockDigest: lock.Digest(part), ScriptsDigest: hex.EncodeToString(sum[:]),
		Packages: packages, Distro: distro(part), Releases: part.Releases,
		EngineKind: kind, EngineVersion: b.version, Forge: b.host.Version,
	})
}

// effectsAmong gives the effects of these packages alone: what else is built at the same
// time is no part of an image's provenance.
func effectsAmong(effects map[string][]spec.Effect, packages []attest.Package) map[string][]spec.Effect {
	out := map[string][]spec.Effect{}
	for _, p := range packages {
		out[p.SHA256] = effects[p.SHA256]
	}
	return out
}

// attested gives every package of an image, its ancestors' included, as the evidence
// describes it.
func (b *builder) attested(ctx context.Context, name, platform string) ([]attest.Package, error) {
	pins := lineagePackages(b.set, b.lock, target{name, platform})
	read, err := b.host.contentsOf(ctx, b.files, pins)
	if err != nil {
		return nil, err
	}
	byName := map[string]*contents{}
	for _, c := range read {
		byName[c.Listing.Package] = c
	}
	var out []attest.Package
	for i, p := range pins {
		out = append(out, describe(p, read[i], byName))
	}
	return out, nil
}

func describe(p lock.Package, c *contents, byName map[string]*contents) attest.Package {
	copyright := c.Copyright
	if other := byName[c.DocOf]; len(copyright) == 0 && other != nil {
		copyright = other.Copyright
	}
	stanza := stanzaOf(c.Listing.Control)
	return attest.Package{
		Name: p.Name, Version: p.Version, Arch: p.Arch, Source: p.Source, SourceVersion: p.SourceVersion,
		SHA256: p.SHA256, SHA512: c.SHA512, Size: p.Size,
		Maintainer:  unfold(stanza.Get("Maintainer")),
		Homepage:    unfold(stanza.Get("Homepage")),
		Description: stanza.Get("Description"),
		Copyright:   copyright,
		Archive:     p.Archive, PoolPath: p.Path,
		Depends:  []string{unfold(stanza.Get("Pre-Depends")), unfold(stanza.Get("Depends"))},
		Provides: unfold(stanza.Get("Provides")),
	}
}

// stanzaOf reads a package's control file, which opening the package has checked.
func stanzaOf(paragraph []byte) *control.Stanza {
	s, err := control.Parse(bytes.NewReader(paragraph))
	if err != nil {
		return &control.Stanza{}
	}
	return &s
}

// unfold puts a value that may go over several lines on one (Debian policy 5.1).
func unfold(value string) string { return strings.Join(strings.Fields(value), " ") }

// distro is what the image's os-release says: Debian, in the major version of the
// first locked release of Debian.
func distro(f *lock.File) attest.Distro {
	d := attest.Distro{ID: "debian"}
	for _, r := range f.Releases {
		if r.Version != "" {
			d.Version, _, _ = strings.Cut(r.Version, ".")
			d.Version, _, _ = strings.Cut(d.Version, "-")
			return d
		}
	}
	return d
}
