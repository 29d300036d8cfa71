package template

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"forge/internal/hclconf"
	"forge/internal/spec"
)

const (
	maxMembers = 200  // images of one for_each
	maxImages  = 1000 // of a directory
	maxDepth   = 20   // ancestors of an image

	maxInherited = 1 << 20 // accounts, environment and labels that children have from parents
)

// family is what one template block makes: one image, or one for each element.
type family struct {
	at      hcl.Range
	members map[string]*image // by key; "" without for_each
	each    bool
	broken  bool // its elements are not known
}

// image is one image on its way to a spec.Image.
type image struct {
	spec.Image
	block  *hclconf.Block
	scope  *hclconf.Scope
	parent *image
	lost   bool // extends something that does not exist or itself
	state  int  // of ordering: 0 untouched, 1 under way, 2 done
	places places
}

// places remembers where things were said, for messages about them.
type places struct {
	user   hcl.Range            // config.user, own or inherited
	users  map[string]hcl.Range // by name, own and inherited
	groups map[string]hcl.Range
	paths  map[string]entry // own
}

func (l *loader) loadImages(blocks []*hclsyntax.Block) []spec.Image {
	for _, b := range blocks {
		if l.conf.Scope.CheckLabels(b, templateSchema) {
			l.loadFamily(b)
		}
	}
	names := sortedKeys(l.images)
	for _, name := range names {
		l.findParent(l.images[name])
	}
	list := []spec.Image{}
	inherited := 0
	for _, m := range l.order(names) {
		if p := m.parent; p != nil {
			inherited += len(p.Users) + len(p.Groups) + len(p.Config.Env) + len(p.Config.Labels)
		}
		if inherited > maxInherited {
			l.errorf(m.block.Range, "the templates inherit too much", "Accounts, environments and labels that all templates inherit number more than %d. Move some of the templates to a directory of their own.", maxInherited)
			break
		}
		l.evaluate(m)
		list = append(list, m.Image)
	}
	return list
}

// loadFamily decodes a template block once for each image it makes.
func (l *loader) loadFamily(b *hclsyntax.Block) {
	name, at := b.Labels[0], b.LabelRanges[0]
	if first, twice := l.families[name]; twice {
		l.errorf(at, fmt.Sprintf("template %q is defined twice", name), "The first is at %s. Delete one of them or give it another name.", hclconf.Place(first.at))
		return
	}
	f := &family{at: at, members: map[string]*image{}}
	l.families[name] = f
	each := hclconf.Expr(b, "for_each")
	if each == nil {
		l.addImage(f, b, name, "", l.conf.Scope)
		return
	}
	f.each = true
	members, ok := l.members(each)
	f.broken = !ok
	for _, key := range sortedKeys(members) {
		scope := l.conf.Scope.With("each", cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(key), "value": members[key]}))
		l.addImage(f, b, name+"-"+key, key, scope)
	}
	if len(members) == 0 {
		l.conf.Scope.With("each", cty.DynamicVal).Decode(b, templateSchema) // for its faults
	}
}

func (l *loader) addImage(f *family, b *hclsyntax.Block, name, key string, scope *hclconf.Scope) {
	at := b.LabelRanges[0]
	if !imageName.MatchString(name) || len(name) > 128 {
		l.errorf(at, fmt.Sprintf("%q cannot be an image's name", name), "It becomes part of a repository's name: lower-case letters and digits, with single dots, dashes or underscores between them.")
	}
	if first, twice := l.images[name]; twice {
		l.errorf(at, fmt.Sprintf("image %q is defined twice", name), "The first is at %s. Give one of them another name.", hclconf.Place(first.block.Labels[0].Range))
		return
	}
	if len(l.images) == maxImages {
		l.errorf(at, fmt.Sprintf("more than %d images in one directory", maxImages), "Move some of the templates to a directory of their own.")
		return
	}
	m := &image{block: scope.Decode(b, templateSchema), scope: scope}
	m.Name = name
	f.members[key] = m
	l.images[name] = m
}

// members gives the elements of a for_each by key.
func (l *loader) members(e hclsyntax.Expression) (map[string]cty.Value, bool) {
	v := l.conf.Scope.Eval(e)
	if !v.IsWhollyKnown() {
		return nil, false
	}
	wrong := v.IsNull() || !v.CanIterateElements()
	members := map[string]cty.Value{}
	if !wrong && v.LengthInt() > maxMembers {
		l.errorf(e.Range(), fmt.Sprintf("\"for_each\" has %d elements", v.LengthInt()), "A family may have %d images. Split it.", maxMembers)
		return nil, false
	}
	if !wrong {
		named := v.Type().IsMapType() || v.Type().IsObjectType()
		for it := v.ElementIterator(); it.Next(); {
			key, element := it.Element()
			if !named {
				key = element
			}
			if key.IsNull() || key.Type() != cty.String {
				wrong = true
				break
			}
			members[key.AsString()] = element
		}
	}
	if wrong {
		l.errorf(e.Range(), "\"for_each\" must be a map, or a list of strings", "Write for_each = { key = value } or for_each = [\"key\"].")
		return nil, false
	}
	return members, true
}

// findParent resolves `extends`.
func (l *loader) findParent(m *image) {
	v, ok := m.block.Attrs["extends"]
	if !ok {
		return
	}
	m.lost = true
	ref, ok := l.reference(m.scope, v.Expr, "template")
	if !ok {
		return
	}
	f, ok := l.families[ref.name]
	if !ok {
		names := sortedKeys(l.families)
		l.errorf(v.Range, fmt.Sprintf("unknown template %q", ref.name), "Templates here are %s.%s", hclconf.Join(names, "and"), hclconf.DidYouMean(ref.name, names))
		return
	}
	parent, ok := f.members[ref.key]
	switch {
	case ok:
		m.parent, m.Parent, m.lost = parent, parent.Name, false
	case f.broken:
	case !f.each:
		l.errorf(v.Range, fmt.Sprintf("template %q is a single image", ref.name), "It has no `for_each`. Write template.%s without a key.", ref.name)
	case ref.key == "":
		l.errorf(v.Range, fmt.Sprintf("template %q is a family of images", ref.name), "Say which one: template.%s[\"KEY\"], where the key is one of %s.", ref.name, hclconf.Join(sortedKeys(f.members), "and"))
	default:
		keys := sortedKeys(f.members)
		l.errorf(v.Range, fmt.Sprintf("template %q has no image %q", ref.name, ref.key), "It makes one image for each of %s. Write template.%s[\"KEY\"].%s", hclconf.Join(keys, "and"), ref.name, hclconf.DidYouMean(ref.key, keys))
	}
}

// reference is archive.NAME or template.NAME, perhaps with a key.
type reference struct{ name, key string }

// reference reads a reference without evaluating it; only its key is evaluated.
func (l *loader) reference(scope *hclconf.Scope, e hclsyntax.Expression, root string) (reference, bool) {
	var ref reference
	if index, ok := hcl.UnwrapExpression(e).(*hclsyntax.IndexExpr); ok {
		key := scope.Eval(index.Key)
		if !key.IsWhollyKnown() {
			return ref, false
		}
		if !key.IsNull() && key.Type() == cty.String {
			ref.key = key.AsString()
			e = index.Collection
		}
	}
	t, ds := hcl.AbsTraversalForExpr(e)
	if !ds.HasErrors() && t.RootName() == root && (len(t) == 2 || len(t) == 3 && ref.key == "") {
		name, ok := step(t[1])
		if len(t) == 3 && ok {
			ref.key, ok = step(t[2])
		}
		if ref.name = name; ok {
			return ref, true
		}
	}
	hint := ""
	if v, ds := e.Value(nil); !ds.HasErrors() && v.IsKnown() && !v.IsNull() && v.Type() == cty.String && imageName.MatchString(v.AsString()) {
		hint = fmt.Sprintf(" Write %s.%s without quotes.", root, v.AsString())
	} else if !ds.HasErrors() || t == nil {
		hint = ""
	} else if t.RootName() != root && len(t) == 1 {
		hint = fmt.Sprintf(" Did you mean %s.%s?", root, t.RootName())
	}
	l.errorf(e.Range(), fmt.Sprintf("not a reference to %s", article(root)), "Name it as %s.NAME.%s", root, hint)
	return ref, false
}

func article(word string) string {
	if strings.ContainsAny(word[:1], "aeiou") {
		return "an " + word
	}
	return "a " + word
}

func step(s hcl.Traverser) (string, bool) {
	switch s := s.(type) {
	case hcl.TraverseAttr:
		return s.Name, true
	case hcl.TraverseIndex:
		if s.Key.Type() == cty.String {
			return s.Key.AsString(), true
		}
	}
	return "", false
}

// order puts parents before children, then by name, after cutting circles.
func (l *loader) order(names []string) []*image {
	for _, name := range names {
		l.cutCircle(l.images[name])
	}
	depth := map[*image]int{}
	var measure func(m *image) int
	measure = func(m *image) int {
		if m.parent == nil {
			return 0
		}
		if _, done := depth[m]; !done {
			depth[m] = 1 + measure(m.parent)
		}
		return depth[m]
	}
	list := make([]*image, len(names))
	for i, name := range names {
		list[i] = l.images[name]
		if measure(list[i]) == maxDepth+1 {
			l.errorf(list[i].block.At("extends"), fmt.Sprintf("template %q has more than %d ancestors", name, maxDepth), "Each has layers of its own, and engines bound their number. Extend an earlier template.")
			list[i].parent, list[i].lost = nil, true
		}
	}
	slices.SortStableFunc(list, func(a, b *image) int { return measure(a) - measure(b) })
	return list
}

// cutCircle walks up a lineage and cuts it where it comes back to itself.
func (l *loader) cutCircle(m *image) {
	var walk []*image
	for ; m != nil && m.state == 0; m = m.parent {
		m.state = 1
		walk = append(walk, m)
	}
	if m != nil && m.state == 1 {
		loop := walk[slices.Index(walk, m):]
		text := ""
		for _, x := range loop[:min(len(loop), 20)] {
			text += x.Name + " extends "
		}
		l.errorf(m.block.At("extends"), fmt.Sprintf("template %q extends itself", m.Name), "%s%s. Break the circle by removing one `extends`.", text, m.Name)
		m.parent, m.lost = nil, true
	}
	for _, x := range walk {
		x.state = 2
	}
}
