package attest

import (
	"net/url"
	"strings"

	"forge/internal/debian/dependency"
)

// Package is one Debian package of an image, as its verified .deb states it.
type Package struct {
	Name, Version, Arch   string
	Source, SourceVersion string   // as in the lock; never empty
	SHA256, SHA512        string   // of the .deb, in hex
	Size                  int64    // of the .deb, in bytes
	Maintainer            string   // "Name <address>"
	Homepage              string   // "" when there is none
	Description           string   // the synopsis and what follows; only the synopsis is used
	Copyright             []byte   // usr/share/doc/<name>/copyright; nil when there is none
	Archive               string   // name of the archive in the templates
	PoolPath              string   // in the archive's pool; never a mirror's host
	Depends               []string // values of Pre-Depends and Depends
	Provides              string   // value of Provides
}

// Distro is the distribution that an image says it is, as in its os-release.
type Distro struct {
	ID      string // "debian"
	Version string // "13"
}

// purl is the package URL that scanners match by. The source package is given where it
// is not the package itself.
func (p *Package) purl(d Distro) string {
	s := "pkg:deb/" + escape(d.ID) + "/" + escape(p.Name) + "@" + escape(p.Version) +
		"?arch=" + escape(p.Arch) + "&distro=" + escape(d.ID+"-"+d.Version)
	if p.Source != p.Name || p.SourceVersion != p.Version {
		s += "&upstream=" + escape(p.Source+"@"+p.SourceVersion)
	}
	return s
}

// sourcePURL is the package URL of the source package that the binary was built from.
func (p *Package) sourcePURL(d Distro) string {
	return "pkg:deb/" + escape(d.ID) + "/" + escape(p.Source) + "@" + escape(p.SourceVersion) +
		"?arch=source&distro=" + escape(d.ID+"-"+d.Version)
}

// escape percent-encodes a part of a package URL as its specification says: all but
// letters, digits, ".-_~" and the colon. The client library leaves "+" as it is, which
// other readers take for a space.
func escape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), "%3A", ":")
}

// edges gives, for each package, the indexes of the packages in the image that it
// depends on, in ascending order; whole is false when some dependency is met by none.
func edges(ps []Package) (out [][]int, whole bool) {
	provided := map[string][]int{}
	for i := range ps {
		provided[ps[i].Name] = append(provided[ps[i].Name], i)
		groups, err := dependency.Parse(ps[i].Provides)
		if err != nil {
			continue // a package that provides nothing readable provides nothing
		}
		for _, g := range groups {
			provided[g[0].Name] = append(provided[g[0].Name], i)
		}
	}
	whole = true
	for i := range ps {
		met, all := dependsOn(&ps[i], provided)
		out, whole = append(out, met), whole && all
	}
	return out, whole
}

func dependsOn(p *Package, provided map[string][]int) (met []int, all bool) {
	seen := map[int]bool{}
	all = true
	for _, field := range p.Depends {
		groups, err := dependency.Parse(field)
		if err != nil {
			return nil, false
		}
		for _, g := range groups {
			found := firstMet(g, provided)
			all = all && found != nil
			for _, i := range found {
				seen[i] = true
			}
		}
	}
	return sortedKeys(seen), all
}

// firstMet gives the packages that satisfy a group's first alternative that any does.
// The archive's solver has checked versions already; here only who is meant matters.
func firstMet(g dependency.Group, provided map[string][]int) []int {
	for _, alt := range g {
		if met := provided[alt.Name]; len(met) > 0 {
			return met
		}
	}
	return nil
}

// synopsis is the first line of a description.
func (p *Package) synopsis() string {
	line, _, _ := strings.Cut(p.Description, "\n")
	return strings.TrimSpace(line)
}

// contact takes "Name <address>" apart.
func (p *Package) contact() (name, email string) {
	name, rest, ok := strings.Cut(p.Maintainer, "<")
	if !ok {
		return strings.TrimSpace(p.Maintainer), ""
	}
	email, _, _ = strings.Cut(rest, ">")
	return strings.TrimSpace(name), strings.TrimSpace(email)
}
