package evidence

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// shown bounds the packages named in one message.
const shown = 10

// differs compares an SBOM's Debian packages with those an image holds, and says how
// they differ; "" when they do not.
func differs(sbom []byte, held []Package) string {
	named, err := sbomPackages(sbom)
	if err != nil {
		return "the signed SBOM cannot be read: " + err.Error()
	}
	missing, extra := minus(held, named), minus(named, held)
	if len(missing)+len(extra) == 0 {
		return ""
	}
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "the SBOM does not name what the image holds: "+list(missing))
	}
	if len(extra) > 0 {
		parts = append(parts, "the SBOM names what the image does not hold: "+list(extra))
	}
	return strings.Join(parts, "; ")
}

// sbomPackages lists the Debian packages of a CycloneDX document by their package
// URLs, sorted. A component that says one thing in its fields and another in its
// package URL is an error: two scanners would see two packages.
func sbomPackages(sbom []byte) ([]Package, error) {
	var doc struct {
		Format     string `json:"bomFormat"`
		Components []struct {
			Name, Version, PURL string
			Components          []json.RawMessage
		} `json:"components"`
	}
	if err := json.Unmarshal(sbom, &doc); err != nil {
		return nil, err
	}
	if doc.Format != "CycloneDX" {
		return nil, fmt.Errorf("it is not a CycloneDX document")
	}
	var out []Package
	for _, c := range doc.Components {
		if len(c.Components) > 0 {
			return nil, fmt.Errorf("component %.80q has components of its own, which some scanners do not see", c.Name)
		}
		if c.PURL == "" {
			continue
		}
		p, err := packageurl.FromString(c.PURL)
		if err != nil {
			return nil, fmt.Errorf("package URL %.200q: %w", c.PURL, err)
		}
		if p.Type != packageurl.TypeDebian {
			continue
		}
		if p.Name != c.Name || p.Version != c.Version {
			return nil, fmt.Errorf("component %.80q has the package URL of another: %.200q", c.Name, c.PURL)
		}
		out = append(out, Package{Name: p.Name, Version: p.Version, Arch: p.Qualifiers.Map()["arch"]})
	}
	slices.SortFunc(out, comparePackages)
	return out, nil
}

// minus gives the packages of a that are not in b; both are sorted.
func minus(a, b []Package) []Package {
	var out []Package
	for _, p := range a {
		if _, ok := slices.BinarySearchFunc(b, p, comparePackages); !ok {
			out = append(out, p)
		}
	}
	return out
}

func list(ps []Package) string {
	var names []string
	for i, p := range ps {
		if i == shown {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(ps)-shown)
		}
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}
