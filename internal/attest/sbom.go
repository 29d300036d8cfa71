package attest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"

	"forge/internal/attest/licence"
)

// SBOMInput is all that an SBOM is made from.
type SBOMInput struct {
	Name, Version string // of the template
	Platform      string // "linux/amd64"
	Digest        string // of the image manifest, "sha256:<hex>"
	Created       time.Time
	Forge         string // forge's own version
	Vendor        string // who the image says supplies it; "" when it does not say
	Distro        Distro
	Packages      []Package // all of the image, the parent's too; in any order
}

// SBOM makes the CycloneDX 1.6 document of one image, as JSON on one line. Components
// are one flat list, since some scanners do not see nested ones; the operating system
// is a component without a package URL, because Trivy wants it so.
func SBOM(in SBOMInput) ([]byte, error) {
	in.Packages = slices.Clone(in.Packages)
	slices.SortFunc(in.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	for i := range in.Packages {
		p := &in.Packages[i]
		if p.Name == "" || p.Version == "" || p.Arch == "" || p.Source == "" || p.SourceVersion == "" {
			return nil, fmt.Errorf("making SBOM of %s: package %q lacks name, version, architecture or source", in.Name, p.Name)
		}
	}
	bom, err := in.document()
	if err != nil {
		return nil, fmt.Errorf("making SBOM of %s: %w", in.Name, err)
	}
	content, err := encodeBOM(bom)
	if err != nil {
		return nil, fmt.Errorf("making SBOM of %s: %w", in.Name, err)
	}
	bom.SerialNumber = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, content).String()
	return encodeBOM(bom)
}

func encodeBOM(bom *cdx.BOM) ([]byte, error) {
	var b bytes.Buffer
	err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
	return bytes.TrimSpace(b.Bytes()), err
}

func (in *SBOMInput) document() (*cdx.BOM, error) {
	root, err := in.container()
	if err != nil {
		return nil, err
	}
	system := in.system()
	components := []cdx.Component{system}
	refs := make([]string, len(in.Packages))
	for i := range in.Packages {
		c := in.Packages[i].component(in.Distro)
		refs[i] = c.BOMRef
		components = append(components, c)
	}
	deps, whole := in.dependencies(root.BOMRef, system.BOMRef, refs)
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp:  in.Created.UTC().Format(time.RFC3339),
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhaseBuild}},
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{
			{Type: cdx.ComponentTypeApplication, Name: "forge", Version: in.Forge},
		}},
		Component: &root,
		Supplier:  organization(in.Vendor, ""),
		Licenses:  &cdx.Licenses{{License: &cdx.License{ID: "CC0-1.0"}}},
	}
	bom.Components = &components
	bom.Dependencies = &deps
	bom.Compositions = compositions(root.BOMRef, append([]string{root.BOMRef, system.BOMRef}, refs...), whole)
	return bom, nil
}

// container is what the document is about: the image.
func (in *SBOMInput) container() (cdx.Component, error) {
	sum, err := sha256Hex(in.Digest)
	if err != nil {
		return cdx.Component{}, err
	}
	_, arch, ok := strings.Cut(in.Platform, "/")
	if !ok {
		return cdx.Component{}, fmt.Errorf("platform %q is not os/architecture", in.Platform)
	}
	purl := "pkg:oci/" + escape(in.Name) + "@" + escape(in.Digest) + "?arch=" + escape(arch)
	return cdx.Component{
		BOMRef:     purl,
		Type:       cdx.ComponentTypeContainer,
		Name:       in.Name,
		Version:    in.Version,
		Supplier:   organization(in.Vendor, ""),
		PackageURL: purl,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
	}, nil
}

// system is the distribution; scanners take the release from it. Its CPE is the one
// under which Debian's releases are known. Packages have none: a CPE guessed from a
// package's name would match upstream versions, which Debian's fixes make untrue.
func (in *SBOMInput) system() cdx.Component {
	c := cdx.Component{
		BOMRef:  "os:" + in.Distro.ID + "@" + in.Distro.Version,
		Type:    cdx.ComponentTypeOS,
		Name:    in.Distro.ID,
		Version: in.Distro.Version,
	}
	if _, err := strconv.Atoi(in.Distro.Version); err == nil && in.Distro.ID == "debian" {
		c.Supplier = organization("Debian", "")
		c.CPE = "cpe:2.3:o:debian:debian_linux:" + in.Distro.Version + ".0:*:*:*:*:*:*:*"
	}
	return c
}

func (p *Package) component(d Distro) cdx.Component {
	purl := p.purl(d)
	c := cdx.Component{
		BOMRef:             purl,
		Type:               cdx.ComponentTypeLibrary,
		Name:               p.Name,
		Version:            p.Version,
		Description:        p.synopsis(),
		PackageURL:         purl,
		Hashes:             p.hashes(),
		ExternalReferences: p.references(d),
		Properties:         p.properties(),
	}
	c.Supplier = organization(p.contact())
	if expr := licence.Expression(p.Source, p.Copyright); expr != "" {
		declared := cdx.LicenseAcknowledgementDeclared
		c.Licenses = &cdx.Licenses{{Expression: expr, Acknowledgement: &declared}}
	}
	return c
}

// organization names somebody; nil when nobody is named.
func organization(name, email string) *cdx.OrganizationalEntity {
	if name == "" {
		return nil
	}
	o := &cdx.OrganizationalEntity{Name: name}
	if email != "" {
		o.Contact = &[]cdx.OrganizationalContact{{Name: name, Email: email}}
	}
	return o
}

// hashes are those of the .deb: what was fetched and verified.
func (p *Package) hashes() *[]cdx.Hash {
	var out []cdx.Hash
	if p.SHA256 != "" {
		out = append(out, cdx.Hash{Algorithm: cdx.HashAlgoSHA256, Value: p.SHA256})
	}
	if p.SHA512 != "" {
		out = append(out, cdx.Hash{Algorithm: cdx.HashAlgoSHA512, Value: p.SHA512})
	}
	if out == nil {
		return nil
	}
	return &out
}

// references names the .deb by its path in the pool, on whatever mirror, and the source
// package by its package URL.
func (p *Package) references(d Distro) *[]cdx.ExternalReference {
	var out []cdx.ExternalReference
	if p.PoolPath != "" {
		out = append(out, cdx.ExternalReference{
			Type: cdx.ERTypeDistribution, URL: (&url.URL{Path: p.PoolPath}).String(),
			Comment: "path in archive " + p.Archive, Hashes: p.hashes(),
		})
	}
	out = append(out, cdx.ExternalReference{
		Type: cdx.ERTypeSourceDistribution, URL: p.sourcePURL(d), Comment: "source package",
	})
	if u, err := url.Parse(p.Homepage); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		out = append(out, cdx.ExternalReference{Type: cdx.ERTypeWebsite, URL: u.String()})
	}
	return &out
}

// properties says where Trivy finds the source package, and what BSI TR-03183-2 asks
// of a component's file.
func (p *Package) properties() *[]cdx.Property {
	out := []cdx.Property{
		{Name: "aquasecurity:trivy:PkgType", Value: "debian"},
		{Name: "aquasecurity:trivy:SrcName", Value: p.Source},
	}
	out = append(out, sourceVersion(p.SourceVersion)...)
	if p.PoolPath != "" {
		out = append(out,
			cdx.Property{Name: "bsi:component:filename", Value: path.Base(p.PoolPath)},
			cdx.Property{Name: "bsi:component:executable", Value: "non-executable"},
			cdx.Property{Name: "bsi:component:archive", Value: "archive"},
			cdx.Property{Name: "bsi:component:structured", Value: "structured"})
	}
	return &out
}

// sourceVersion takes a source package's version apart as Trivy wants it.
func sourceVersion(v string) []cdx.Property {
	var out []cdx.Property
	epoch, rest, ok := strings.Cut(v, ":")
	if !ok {
		epoch, rest = "", v
	}
	upstream, revision := rest, ""
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		upstream, revision = rest[:i], rest[i+1:]
	}
	for _, part := range [][2]string{{"SrcEpoch", epoch}, {"SrcVersion", upstream}, {"SrcRelease", revision}} {
		if part[1] != "" {
			out = append(out, cdx.Property{Name: "aquasecurity:trivy:" + part[0], Value: part[1]})
		}
	}
	return out
}

// dependencies gives root -> system -> packages, and each package's own.
func (in *SBOMInput) dependencies(root, system string, refs []string) ([]cdx.Dependency, bool) {
	all := slices.Clone(refs)
	out := []cdx.Dependency{
		{Ref: root, Dependencies: &[]string{system}},
		{Ref: system, Dependencies: &all},
	}
	byPackage, whole := edges(in.Packages)
	for i, on := range byPackage {
		d := cdx.Dependency{Ref: refs[i]}
		if len(on) > 0 {
			names := make([]string, len(on))
			for j, k := range on {
				names[j] = refs[k]
			}
			d.Dependencies = &names
		}
		out = append(out, d)
	}
	return out, whole
}

// compositions says what the document claims to be complete: the packages always, the
// dependencies only where each one is met inside the image.
func compositions(root string, refs []string, whole bool) *[]cdx.Composition {
	deps := cdx.CompositionAggregateComplete
	if !whole {
		deps = cdx.CompositionAggregateIncomplete
	}
	var described []cdx.BOMReference
	for _, r := range refs {
		described = append(described, cdx.BOMReference(r))
	}
	return &[]cdx.Composition{
		{Aggregate: cdx.CompositionAggregateComplete, Assemblies: &[]cdx.BOMReference{cdx.BOMReference(root)}},
		{Aggregate: deps, Dependencies: &described},
	}
}

func sortedKeys(m map[int]bool) []int { return slices.Sorted(maps.Keys(m)) }
