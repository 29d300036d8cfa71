package hclconf

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Value is an attribute's value, of the type that its schema gives. It is never null
// and holds no null.
type Value struct {
	cty.Value
	Expr      hclsyntax.Expression
	Range     hcl.Range // of the value
	NameRange hcl.Range // of the attribute's name
}

// Item is one element of a list or map with its own place.
type Item struct {
	Key   string // of a map
	Value cty.Value
	Range hcl.Range
}

// Text gives a string attribute and whether it is there.
func (b *Block) Text(name string) (string, bool) {
	v, ok := b.Attrs[name]
	if !ok {
		return "", false
	}
	return v.AsString(), true
}

// Bool gives a boolean attribute, or the default where it is not there.
func (b *Block) Bool(name string, absent bool) bool {
	if v, ok := b.Attrs[name]; ok {
		return v.True()
	}
	return absent
}

// Given tells whether an attribute is written, even where its value is wrong.
func (b *Block) Given(name string) bool {
	_, ok := b.body.Attributes[name]
	return ok
}

// At is the place of an attribute's value, or of the block where it is not there.
func (b *Block) At(name string) hcl.Range {
	if v, ok := b.Attrs[name]; ok {
		return v.Range
	}
	return b.Range
}

// One gives the only block of a type, or nil.
func (b *Block) One(name string) *Block {
	if list := b.Blocks[name]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// Expr gives an attribute's expression before evaluation, and nil where there is none.
func Expr(b *hclsyntax.Block, name string) hclsyntax.Expression {
	if a, ok := b.Body.Attributes[name]; ok {
		return a.Expr
	}
	return nil
}

// Items gives a list's elements in order, or a map's by key. Each has its own place
// where the list or map is written out, else that of the whole.
func (v Value) Items() []Item {
	var items []Item
	places := v.places()
	for it := v.ElementIterator(); it.Next(); {
		key, e := it.Element()
		item := Item{Value: e, Range: v.Range}
		if key.Type() == cty.String {
			item.Key = key.AsString()
		}
		if at, ok := places[item.Key]; ok && item.Key != "" {
			item.Range = at
		}
		items = append(items, item)
	}
	if tuple, ok := v.Expr.(*hclsyntax.TupleConsExpr); ok && len(tuple.Exprs) == len(items) {
		for i := range items {
			items[i].Range = tuple.Exprs[i].Range()
		}
	}
	return items
}

// places gives the places of a written-out map's keys.
func (v Value) places() map[string]hcl.Range {
	object, ok := v.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return nil
	}
	places := map[string]hcl.Range{}
	for _, item := range object.Items {
		within(func() {
			key, ds := item.KeyExpr.Value(nil)
			if !ds.HasErrors() && key.IsKnown() && !key.IsNull() && key.Type() == cty.String {
				places[key.AsString()] = item.KeyExpr.Range()
			}
		})
	}
	return places
}

// Int gives a number as an int, where it is a whole one of at most 53 bits.
func Int(v cty.Value) (int, bool) {
	f := v.AsBigFloat()
	n, acc := f.Int64()
	if acc != big.Exact || n > 1<<53 || n < -1<<53 {
		return 0, false
	}
	return int(n), true
}

func hasNull(v cty.Value) bool {
	if v.IsNull() {
		return true
	}
	if !v.CanIterateElements() || v.Type().IsObjectType() {
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		if _, e := it.Element(); hasNull(e) {
			return true
		}
	}
	return false
}

func (a Attr) typeName() string {
	if a.Kind != "" {
		return a.Kind
	}
	return typeName(a.Type)
}

// typeName words a type.
func typeName(t cty.Type) string {
	switch {
	case t == cty.NilType || t == cty.DynamicPseudoType:
		return "any value"
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsListType() || t.IsSetType():
		return "a list of " + plural(t.ElementType())
	case t.IsMapType():
		return "a map of " + plural(t.ElementType())
	case t.IsTupleType():
		return "a list"
	case t.IsObjectType():
		return objectName(t)
	}
	return t.FriendlyName()
}

func plural(t cty.Type) string {
	switch {
	case t == cty.String:
		return "strings"
	case t == cty.Number:
		return "numbers"
	case t == cty.Bool:
		return "true or false"
	case t.IsObjectType():
		return "objects"
	}
	return "values"
}

func objectName(t cty.Type) string {
	names := slices.Sorted(maps.Keys(t.AttributeTypes()))
	if len(names) > 5 {
		names = append(names[:5], "...")
	}
	if len(names) == 0 {
		return "an empty object"
	}
	return "an object of " + strings.Join(names, ", ")
}

// form shows how an attribute of a type is written.
func form(name string, t cty.Type) string {
	example := ""
	switch {
	case t == cty.String:
		example = `"..."`
	case t == cty.Number:
		example = "1000"
	case t == cty.Bool:
		example = "true"
	case t.IsListType() && t.ElementType() == cty.String:
		example = `["...", "..."]`
	case t.IsMapType() && t.ElementType() == cty.String:
		example = `{ name = "..." }`
	case t.IsListType():
		example = "[...]"
	default:
		return "The reference documentation shows how it is written."
	}
	return fmt.Sprintf("Write `%s = %s`.", name, example)
}

func count(n int, word string) string {
	switch n {
	case 0:
		return "no " + word
	case 1:
		return "one " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func upper(label string) string { return strings.ToUpper(label) }
