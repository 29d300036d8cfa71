package attest

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"

	"forge/internal/lock"
)

// ProvenanceInput is all that a build's provenance is made from. Digests are SHA-256
// in hex.
type ProvenanceInput struct {
	Template  string            // name
	Version   string            // of the template
	Platforms []string          // of what the statement is about: one of an image, all of an index
	Variables map[string]string // used, each as JSON

	SpecDigest    string // spec.ImageDigest
	LockDigest    string
	ScriptsDigest string // of the script-effect records

	Packages []Package // every package of every platform named
	Distro   Distro
	Releases []lock.Release // the signed files that the packages were chosen from

	EngineKind, EngineVersion string
	Forge                     string // forge's own version
}

type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	InternalParameters   internalParameters `json:"internalParameters"`
	ResolvedDependencies []dependencyOf     `json:"resolvedDependencies"`
}

// externalParameters are what the user chose, all of it (docs/build-type.md).
type externalParameters struct {
	Template  string            `json:"template"`
	Version   string            `json:"version"`
	Platforms []string          `json:"platforms"`
	Variables map[string]string `json:"variables"`
}

type internalParameters struct {
	Engine        engine `json:"engine"`
	LayoutVersion int    `json:"layoutVersion"`
}

type engine struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

// dependencyOf is an in-toto resource descriptor.
type dependencyOf struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      common.DigestSet  `json:"digest"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type runDetails struct {
	Builder builder `json:"builder"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}

// Provenance makes the SLSA v1 provenance predicate, as JSON on one line: every
// package, the signed release files behind them, and the digests of spec, lock and
// script-effect records. It claims no SLSA level: that is a verifier's to decide.
func Provenance(in ProvenanceInput) ([]byte, error) {
	deps, err := in.resolved()
	if err != nil {
		return nil, fmt.Errorf("making provenance of %s: %w", in.Template, err)
	}
	variables := maps.Clone(in.Variables)
	if variables == nil {
		variables = map[string]string{}
	}
	p := provenance{
		BuildDefinition: buildDefinition{
			BuildType: BuildType,
			ExternalParameters: externalParameters{
				Template:  in.Template,
				Version:   in.Version,
				Platforms: slices.Sorted(slices.Values(in.Platforms)),
				Variables: variables,
			},
			InternalParameters: internalParameters{
				Engine:        engine{in.EngineKind, in.EngineVersion},
				LayoutVersion: lock.LayoutVersion,
			},
			ResolvedDependencies: deps,
		},
		RunDetails: runDetails{
			Builder: builder{ID: LocalBuilder, Version: map[string]string{"forge": in.Forge}},
		},
	}
	return encode(p)
}

// resolved lists everything that went into the build, each by digest: first forge's
// own inputs, then release files, then packages.
func (in *ProvenanceInput) resolved() ([]dependencyOf, error) {
	var out []dependencyOf
	for _, d := range []struct{ name, sum string }{
		{"spec", in.SpecDigest}, {"lock", in.LockDigest}, {"script-effects", in.ScriptsDigest},
	} {
		if _, err := sha256Hex("sha256:" + d.sum); err != nil {
			return nil, fmt.Errorf("digest of %s: %w", d.name, err)
		}
		out = append(out, dependencyOf{Name: d.name, Digest: common.DigestSet{"sha256": d.sum}})
	}
	for _, r := range in.releases() {
		if _, err := sha256Hex("sha256:" + r.Digest["sha256"]); err != nil {
			return nil, fmt.Errorf("digest of %s: %w", r.Name, err)
		}
		out = append(out, r)
	}
	packages, err := in.packages()
	return append(out, packages...), err
}

func (in *ProvenanceInput) releases() []dependencyOf {
	var out []dependencyOf
	for _, r := range in.Releases {
		notes := map[string]string{"archive": r.Archive, "suite": r.Suite, "date": r.Date, "signedBy": r.Fingerprint}
		for name, v := range map[string]string{"asOf": r.AsOf, "snapshot": r.Snapshot, "validUntil": r.ValidUntil} {
			if v != "" {
				notes[name] = v
			}
		}
		out = append(out, dependencyOf{
			Name:        path.Join(r.Archive, r.Suite, "InRelease"),
			Digest:      common.DigestSet{"sha256": r.SHA256},
			Annotations: notes,
		})
	}
	slices.SortFunc(out, func(a, b dependencyOf) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// packages lists each package once, however many platforms hold it.
func (in *ProvenanceInput) packages() ([]dependencyOf, error) {
	var out []dependencyOf
	seen := map[[2]string]bool{}
	for i := range in.Packages {
		p := &in.Packages[i]
		if _, err := sha256Hex("sha256:" + p.SHA256); err != nil {
			return nil, fmt.Errorf("digest of package %s: %w", p.Name, err)
		}
		d := dependencyOf{
			URI:         p.purl(in.Distro),
			Digest:      common.DigestSet{"sha256": p.SHA256},
			Annotations: map[string]string{"archive": p.Archive, "path": p.PoolPath},
		}
		if id := [2]string{d.URI, p.SHA256}; !seen[id] {
			seen[id] = true
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b dependencyOf) int {
		return cmp.Or(cmp.Compare(a.URI, b.URI), cmp.Compare(a.Digest["sha256"], b.Digest["sha256"]))
	})
	return out, nil
}
