package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"forge/internal/hclconf"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

var platforms = []string{"linux/amd64", "linux/arm64"}

// evaluate fills an image whose parent is filled already.
func (l *loader) evaluate(m *image) {
	m.places = places{users: map[string]hcl.Range{}, groups: map[string]hcl.Range{}, paths: map[string]entry{}}
	if p := m.parent; p != nil {
		m.places = places{user: p.places.user, users: maps.Clone(p.places.users), groups: maps.Clone(p.places.groups), paths: map[string]entry{}}
	}
	m.Description, _ = m.block.Text("description")
	l.version(m)
	l.platforms(m)
	l.compression(m)
	l.packages(m)
	l.accounts(m)
	l.entries(m)
	l.config(m)
}

func (l *loader) version(m *image) {
	v, ok := m.block.Text("version")
	switch {
	case ok && !tagName.MatchString(v):
		l.errorf(m.block.At("version"), fmt.Sprintf("%q cannot be a version", v), "It becomes an image's tag: letters, digits, dots, dashes and underscores, at most 100.")
	case ok:
		m.Version = v
	case m.parent != nil:
		m.Version = m.parent.Version
	case !m.lost && m.block.Given("version"):
	case !m.lost:
		l.errorf(m.block.Range, fmt.Sprintf("template %q has no version", m.Name), "A template that extends no other needs one, such as version = \"1.0.0\". It becomes the image's tag.")
	}
}

func (l *loader) platforms(m *image) {
	v, ok := m.block.Attrs["platforms"]
	if !ok {
		m.Platforms = []string{"linux/amd64"}
		if m.parent != nil {
			m.Platforms = m.parent.Platforms
		}
		return
	}
	if v.LengthInt() == 0 {
		l.errorf(v.Range, "the image has no platform", "Name at least one of %s, or leave `platforms` out.", hclconf.Join(platforms, "and"))
	}
	for _, item := range v.Items() {
		name := item.Value.AsString()
		switch {
		case !slices.Contains(platforms, name):
			l.errorf(item.Range, fmt.Sprintf("platform %q is not supported", name), "Supported are %s.%s", hclconf.Join(platforms, "and"), hclconf.DidYouMean(name, platforms))
		case slices.Contains(m.Platforms, name):
			l.errorf(item.Range, fmt.Sprintf("%q is listed twice", name), "Delete one of them.")
		case m.parent != nil && !slices.Contains(m.parent.Platforms, name):
			l.errorf(item.Range, fmt.Sprintf("the parent is not built for %s", name), "Template %q is for %s. Add the platform there, at %s.", m.Parent, hclconf.Join(m.parent.Platforms, "and"), hclconf.Place(m.parent.block.At("platforms")))
		default:
			m.Platforms = append(m.Platforms, name)
		}
	}
	slices.Sort(m.Platforms)
}

func (l *loader) compression(m *image) {
	m.Compression = "zstd"
	if m.parent != nil {
		m.Compression = m.parent.Compression
	}
	c, ok := m.block.Text("compression")
	if !ok {
		return
	}
	at := m.block.At("compression")
	if c != "zstd" && c != "gzip" {
		l.errorf(at, fmt.Sprintf("unknown compression %q", c), "Layers are compressed with \"zstd\" or \"gzip\".%s", hclconf.DidYouMean(c, []string{"zstd", "gzip"}))
		return
	}
	if m.parent != nil && c != m.Compression {
		l.errorf(at, "the parent's compression is another", "The image begins with the layers of template %q, which are %s. Set it there, at %s, for the whole lineage.", m.Parent, m.Compression, hclconf.Place(m.parent.block.At("compression")))
		return
	}
	m.Compression = c
}

func (l *loader) packages(m *image) {
	b := m.block.One("packages")
	m.Packages = spec.Packages{Archives: []string{}, Install: []string{}, Resolve: true}
	if m.parent != nil {
		p := m.parent.Packages
		m.Packages.Archives, m.Packages.Resolve, m.Packages.Prune = p.Archives, p.Resolve, p.Prune
	}
	if b == nil {
		return
	}
	if v, ok := b.Attrs["archives"]; ok {
		m.Packages.Archives = l.archiveNames(m, v)
	}
	m.Packages.Resolve = b.Bool("resolve", m.Packages.Resolve)
	m.Packages.Install = l.install(b)
	if len(m.Packages.Install) > 0 && len(m.Packages.Archives) == 0 && !b.Given("archives") && !m.lost {
		l.errorf(b.Range, fmt.Sprintf("template %q names no archives", m.Name), "Say where its packages come from: archives = [archive.NAME]. Archives here are %s.", hclconf.Join(sortedKeys(l.archives), "and"))
	}
	if v, ok := b.Attrs["exclude"]; ok {
		m.Packages.Exclude = l.exclude(v)
	}
	if v, ok := b.Attrs["prune"]; ok {
		m.Packages.Prune = l.prune(v)
	}
}

func (l *loader) archiveNames(m *image, v hclconf.Value) []string {
	list := []string{}
	tuple, ok := v.Expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		l.errorf(v.Range, "\"archives\" must be a list of references", "Write archives = [archive.NAME].")
		return list
	}
	names := sortedKeys(l.archives)
	for _, e := range tuple.Exprs {
		ref, ok := l.reference(m.scope, e, "archive")
		switch {
		case !ok:
		case ref.key != "" || l.archives[ref.name] == nil:
			l.errorf(e.Range(), fmt.Sprintf("unknown archive %q", ref.name), "Archives here are %s.%s", hclconf.Join(names, "and"), hclconf.DidYouMean(ref.name, names))
		case slices.Contains(list, ref.name):
			l.errorf(e.Range(), fmt.Sprintf("archive %q is listed twice", ref.name), "Delete one of them.")
		default:
			list = append(list, ref.name)
		}
	}
	return list
}

// install gives the packages to install, sorted.
func (l *loader) install(b *hclconf.Block) []string {
	list := []string{}
	v, ok := b.Attrs["install"]
	if !ok {
		return list
	}
	first := map[string]bool{}
	for _, item := range v.Items() {
		text := item.Value.AsString()
		name, version, pinned := strings.Cut(text, "=")
		switch {
		case !packageName.MatchString(name):
			l.errorf(item.Range, fmt.Sprintf("%q is not a package's name", name), "Names have lower-case letters, digits, plus, minus and dots, and at least two characters.%s", nameMend(name))
		case pinned && !debVersion.MatchString(version):
			l.errorf(item.Range, fmt.Sprintf("%q is not a package's version", version), "After the equals sign stands the whole Debian version, such as \"libc6=2.41-12\".")
		case first[name]:
			l.errorf(item.Range, fmt.Sprintf("package %q is listed twice", name), "Delete one of them.")
		default:
			first[name] = true
			list = append(list, text)
		}
	}
	slices.Sort(list)
	return list
}

func nameMend(name string) string {
	base, _, qualified := strings.Cut(name, ":")
	switch {
	case qualified && packageName.MatchString(base):
		return fmt.Sprintf(" The architecture is the platform's: write %q.", base)
	case packageName.MatchString(strings.ToLower(strings.TrimSpace(name))):
		return fmt.Sprintf(" Did you mean %q?", strings.ToLower(strings.TrimSpace(name)))
	}
	return ""
}

func (l *loader) exclude(v hclconf.Value) map[string]string {
	reasons := map[string]string{}
	for _, item := range v.Items() {
		reason := item.Value.AsString()
		if !packageName.MatchString(item.Key) {
			l.errorf(item.Range, fmt.Sprintf("%q is not a package's name", item.Key), "Names have lower-case letters, digits, plus, minus and dots, and at least two characters.%s", nameMend(item.Key))
		}
		if strings.TrimSpace(reason) == "" {
			l.errorf(item.Range, fmt.Sprintf("no reason for excluding %q", item.Key), "The reason is recorded with the image. Say why nothing needs the package.")
		}
		reasons[item.Key] = reason
	}
	return reasons
}

func (l *loader) prune(v hclconf.Value) []string {
	var known []string
	for _, s := range rootfs.PruneSets {
		known = append(known, s.Name)
	}
	list := []string{}
	for _, item := range v.Items() {
		name := item.Value.AsString()
		if !slices.Contains(known, name) {
			l.errorf(item.Range, fmt.Sprintf("unknown set of files %q", name), "Sets that `prune` knows are %s.%s", hclconf.Join(known, "and"), hclconf.DidYouMean(name, known))
			continue
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func pruneReference() string {
	var w strings.Builder
	w.WriteString("\n## Sets of `prune`\n\n| set | what is left out |\n|---|---|\n")
	for _, s := range rootfs.PruneSets {
		fmt.Fprintf(&w, "| `%s` | %s |\n", s.Name, s.Doc)
	}
	return w.String()
}
