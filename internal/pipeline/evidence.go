package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"forge/internal/attest"
	"forge/internal/attest/evidence"
	"forge/internal/build"
	"forge/internal/debian/control"
	"forge/internal/lock"
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
		Created: created, Forge: b.host.Version, Distro: b.distro(), Packages: packages,
	})
}

func (b *builder) provenance(r *build.Result, platforms []string, packages []attest.Package) ([]byte, error) {
	records, err := json.Marshal(b.effects)
	if err != nil {
		return nil, fmt.Errorf("marshalling script effects: %w", err)
	}
	sum := sha256.Sum256(records)
	kind := "embedded"
	if b.host.Engine != "" {
		kind = "remote"
	}
	return attest.Provenance(attest.ProvenanceInput{
		Template: r.Name, Version: r.Version, Platforms: platforms, Variables: b.lock.Variables,
		SpecDigest: b.set.ImageDigest(r.Name), LockDigest: lock.Digest(b.lock), ScriptsDigest: hex.EncodeToString(sum[:]),
		Packages: packages, Distro: b.distro(), Releases: b.lock.Releases,
		EngineKind: kind, EngineVersion: b.version, Forge: b.host.Version,
	})
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
	return attest.Package{
		Name: p.Name, Version: p.Version, Arch: p.Arch, Source: p.Source, SourceVersion: p.SourceVersion,
		SHA256: p.SHA256, SHA512: c.SHA512, Size: p.Size,
		Maintainer:  controlField(c.Listing.Control, "Maintainer"),
		Homepage:    controlField(c.Listing.Control, "Homepage"),
		Description: controlField(c.Listing.Control, "Description"),
		Copyright:   copyright,
		Archive:     p.Archive, PoolPath: p.Path,
		Depends:  []string{controlField(c.Listing.Control, "Pre-Depends"), controlField(c.Listing.Control, "Depends")},
		Provides: controlField(c.Listing.Control, "Provides"),
	}
}

// controlField gives the first line of a field of a control paragraph.
func controlField(paragraph []byte, name string) string {
	stanza, err := control.Parse(strings.NewReader(string(paragraph)))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(stanza.Get(name), "\n")
	return line
}

// distro is what the image's os-release says: Debian, in the major version of the
// first locked release of Debian.
func (b *builder) distro() attest.Distro {
	d := attest.Distro{ID: "debian"}
	for _, r := range b.lock.Releases {
		if r.Version != "" {
			d.Version, _, _ = strings.Cut(r.Version, ".")
			d.Version, _, _ = strings.Cut(d.Version, "-")
			return d
		}
	}
	return d
}
