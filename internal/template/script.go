package template

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"forge/internal/hclconf"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

var scriptNames = []string{"preinst", "postinst", "prerm", "postrm", "triggers", "config"}

// effectFields are the operands of an effect, by their names in a record.
var effectFields = map[string]func(e *spec.Effect) *string{
	"op":      func(e *spec.Effect) *string { return &e.Op },
	"path":    func(e *spec.Effect) *string { return &e.Path },
	"target":  func(e *spec.Effect) *string { return &e.Target },
	"content": func(e *spec.Effect) *string { return &e.Content },
	"mode":    func(e *spec.Effect) *string { return &e.Mode },
	"owner":   func(e *spec.Effect) *string { return &e.Owner },
}

func (l *loader) loadScripts(blocks []*hclsyntax.Block) []spec.Script {
	var list []spec.Script
	first := map[string]hcl.Range{}
	for _, b := range l.conf.Scope.Each(blocks, scriptSchema) {
		s := l.script(b)
		id := s.Package + " " + s.Script + " " + s.SHA256
		if at, twice := first[id]; twice && s.SHA256 != "" {
			l.errorf(b.Range, fmt.Sprintf("a second record for this %s of %q", s.Script, s.Package), "The first is at %s. Delete one of them.", hclconf.Place(at))
			continue
		}
		first[id] = b.Range
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b spec.Script) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Script, b.Script), cmp.Compare(a.SHA256, b.SHA256))
	})
	return list
}

func (l *loader) script(b *hclconf.Block) spec.Script {
	s := spec.Script{Package: b.Labels[0].Text, Script: b.Labels[1].Text, Effects: []spec.Effect{}}
	if !packageName.MatchString(s.Package) {
		l.errorf(b.Labels[0].Range, fmt.Sprintf("%q is not a package's name", s.Package), "Names have lower-case letters, digits, plus, minus and dots, and at least two characters.")
	}
	if !slices.Contains(scriptNames, s.Script) {
		l.errorf(b.Labels[1].Range, fmt.Sprintf("unknown script %q", s.Script), "A package's scripts are %s.%s", hclconf.Join(scriptNames, "and"), hclconf.DidYouMean(s.Script, scriptNames))
	}
	s.SHA256 = l.digest(b)
	s.Why, _ = b.Text("why")
	if v, ok := b.Attrs["why"]; ok && strings.TrimSpace(s.Why) == "" {
		l.errorf(v.Range, "the record does not say why", "Say why these effects are what the image needs, for those who review it.")
	}
	v, ok := b.Attrs["effects"]
	if !ok {
		return s
	}
	if !v.Type().IsTupleType() && !v.Type().IsListType() {
		l.errorf(v.Range, "\"effects\" must be a list of objects", "Write effects = [{ op = \"...\", path = \"...\" }].")
		return s
	}
	for _, item := range v.Items() {
		if e, ok := l.effect(item); ok {
			s.Effects = append(s.Effects, e)
		}
	}
	return s
}

func (l *loader) effect(item hclconf.Item) (spec.Effect, bool) {
	var e spec.Effect
	if !item.Value.CanIterateElements() || !(item.Value.Type().IsObjectType() || item.Value.Type().IsMapType()) {
		l.errorf(item.Range, "an effect is not an object", "Write { op = \"...\", path = \"...\" }.")
		return e, false
	}
	known := append(sortedKeys(effectFields), "priority")
	good := true
	for it := item.Value.ElementIterator(); it.Next(); {
		key, v := it.Element()
		name := key.AsString()
		field, isText := effectFields[name]
		if !isText && name != "priority" {
			l.errorf(item.Range, fmt.Sprintf("an effect has no %q", name), "It has %s.%s", hclconf.Join(known, "and"), hclconf.DidYouMean(name, known))
			good = false
			continue
		}
		if v.IsNull() {
			continue
		}
		if !l.setEffect(&e, item.Range, name, field, v) {
			good = false
		}
	}
	if !good {
		return e, false
	}
	if ops := opNames(); !slices.Contains(ops, e.Op) {
		l.errorf(item.Range, fmt.Sprintf("unknown effect %q", e.Op), "The template reference lists every `op` with its operands.%s", hclconf.DidYouMean(e.Op, ops))
		return e, false
	}
	if err := rootfs.CheckEffect(e); err != nil {
		l.errorf(item.Range, err.Error(), "The template reference lists every effect with its operands.")
		return e, false
	}
	return e, true
}

func (l *loader) setEffect(e *spec.Effect, at hcl.Range, name string, field func(*spec.Effect) *string, v cty.Value) bool {
	if field == nil {
		n, err := convert.Convert(v, cty.Number)
		if err == nil {
			var whole bool
			if e.Priority, whole = hclconf.Int(n); whole {
				return true
			}
		}
		l.errorf(at, "an effect's \"priority\" is not a whole number", "Write it as update-alternatives has it, such as 50.")
		return false
	}
	if v.Type() != cty.String {
		l.errorf(at, fmt.Sprintf("an effect's %q is not a string", name), "Put it in quotes.")
		return false
	}
	*field(e) = v.AsString()
	if name == "path" {
		return l.imagePath(e.Path, at)
	}
	return true
}

func opNames() []string {
	var names []string
	for _, op := range rootfs.Ops() {
		names = append(names, op.Name)
	}
	return names
}

func effectReference() string {
	var w strings.Builder
	w.WriteString("\n## Effects of `script` records\n\n| `op` | what is done | needs |\n|---|---|---|\n")
	for _, op := range rootfs.Ops() {
		fmt.Fprintf(&w, "| `%s` | %s | %s |\n", op.Name, strings.ReplaceAll(op.Doc, "|", "\\|"), strings.Join(op.Fields, ", "))
	}
	return w.String()
}
