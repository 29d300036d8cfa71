package hclconf

import (
	"fmt"
	"slices"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Schema is what may stand in one kind of block. Decoding and the reference
// documentation both come from it.
type Schema struct {
	Name    string
	Labels  []string // what each label means
	Doc     string   // Markdown
	Example string   // HCL, a whole block at the top of a file
	Attrs   []Attr
	Blocks  []*Schema
	Once    bool              // at most one in its parent
	Free    bool              // attributes of any name, not evaluated (locals)
	Refused map[string]string // attributes that people expect, and why there are none
}

// Attr is one attribute of a block.
type Attr struct {
	Name     string
	Type     cty.Type // cty.NilType: the expression itself is taken, see Kind
	Kind     string   // in words, where Type does not say it
	Required bool
	Doc      string // Markdown; says the default
}

// VariableSchema and LocalsSchema are the blocks that Load itself understands.
var (
	VariableSchema = &Schema{
		Name: "variable", Labels: []string{"name"},
		Doc: "A value that can be given from outside, with `--var NAME=VALUE` or `--var-file FILE`, and is used as `var.NAME`. Every value is recorded in the lock and in the image's provenance.",
		Example: `variable "suite" {
  type        = string
  default     = "trixie"
  description = "Debian suite that the images are built from."

  validation {
    condition     = contains(["bookworm", "trixie"], var.suite)
    error_message = "The suite must be bookworm or trixie."
  }
}
`,
		Attrs: []Attr{
			{Name: "type", Kind: "type", Doc: "What values fit: `string`, `number`, `bool`, `list(...)`, `set(...)`, `map(...)`, `object({...})`, `tuple([...])`. Default: any; a value from `--var` is then text."},
			{Name: "default", Kind: "any value", Doc: "Value where none is given. Without it, one must be given."},
			{Name: "description", Type: cty.String, Doc: "What the variable is for."},
		},
		Blocks: []*Schema{{
			Name: "validation",
			Doc:  "A condition that a value must meet.",
			Attrs: []Attr{
				{Name: "condition", Kind: "true or false", Required: true, Doc: "True where the value is allowed."},
				{Name: "error_message", Type: cty.String, Required: true, Doc: "What to tell the user where it is not."},
			},
		}},
		Refused: map[string]string{
			"sensitive": "Every variable's value is recorded in the lock and in the provenance, so a variable cannot hold a secret.",
			"nullable":  "Leave it out: a variable may be null where its default is null.",
			"ephemeral": "Every variable's value is recorded in the lock and in the provenance.",
		},
	}
	LocalsSchema = &Schema{
		Name: "locals", Free: true,
		Doc: "Names for values, used as `local.NAME`. Several blocks add up; a local may refer to others in any order.",
		Example: `locals {
  tls = ["ca-certificates", "libssl3t64"]
}
`,
	}
)

// Label is one label of a block.
type Label struct {
	Text  string
	Range hcl.Range
}

// Block is a decoded block. It holds only attributes and blocks that its schema knows
// and whose values fit.
type Block struct {
	Schema *Schema
	Labels []Label
	Range  hcl.Range // type and labels
	Attrs  map[string]Value
	Blocks map[string][]*Block
	body   *hclsyntax.Body
}

// Split groups the directory's blocks by type, variable and locals aside, and reports
// those of unknown types.
func (c *Conf) Split(known []*Schema) map[string][]*hclsyntax.Block {
	groups := map[string][]*hclsyntax.Block{}
	all := append([]*Schema{VariableSchema, LocalsSchema}, known...)
	for _, b := range c.blocks {
		if s := find(all, b.Type); s != nil {
			groups[b.Type] = append(groups[b.Type], b)
			continue
		}
		c.Scope.unknownBlock(b, all, "at the top of a file")
	}
	return groups
}

// Each decodes blocks of one type. Blocks with wrong labels, and further ones of a type
// that is there once, are reported and left out.
func (s *Scope) Each(blocks []*hclsyntax.Block, schema *Schema) []*Block {
	var list []*Block
	for _, b := range s.raw(blocks, schema) {
		if schema.Once && len(list) > 0 {
			s.report.Errorf(b.DefRange(), fmt.Sprintf("a second `%s` block", b.Type), "The first is at %s. Put both together.", Place(list[0].Range))
			continue
		}
		list = append(list, s.Decode(b, schema))
	}
	return list
}

// raw gives the blocks whose labels are as the schema wants them.
func (s *Scope) raw(blocks []*hclsyntax.Block, schema *Schema) []*hclsyntax.Block {
	return slices.DeleteFunc(slices.Clone(blocks), func(b *hclsyntax.Block) bool { return !s.CheckLabels(b, schema) })
}

// CheckLabels reports a block whose labels are not as its schema wants them.
func (s *Scope) CheckLabels(b *hclsyntax.Block, schema *Schema) bool {
	if len(b.Labels) == len(schema.Labels) {
		return true
	}
	form := schema.Name
	for _, l := range schema.Labels {
		form += fmt.Sprintf(" %q", upper(l))
	}
	s.report.Errorf(b.DefRange(), fmt.Sprintf("`%s` has %s", schema.Name, count(len(b.Labels), "label")), "It takes %s. Write `%s { ... }`.", count(len(schema.Labels), "label"), form)
	return false
}

// Decode reads a block by its schema and reports everything in it that does not fit.
func (s *Scope) Decode(b *hclsyntax.Block, schema *Schema) *Block {
	d := &Block{Schema: schema, Range: b.DefRange(), Attrs: map[string]Value{}, Blocks: map[string][]*Block{}, body: b.Body}
	for i, text := range b.Labels {
		d.Labels = append(d.Labels, Label{text, b.LabelRanges[i]})
	}
	if s.meter.spent != "" || !s.payBlock(d.Range) {
		return d
	}
	present := map[string]bool{}
	for _, a := range sortedAttributes(b.Body) {
		present[a.Name] = true
		i := slices.IndexFunc(schema.Attrs, func(x Attr) bool { return x.Name == a.Name })
		if i < 0 {
			s.unknownAttribute(a, schema)
			continue
		}
		if v, ok := s.attribute(a, schema.Attrs[i]); ok {
			d.Attrs[a.Name] = v
		}
	}
	for _, a := range schema.Attrs {
		if a.Required && !present[a.Name] {
			s.report.Errorf(d.Range, fmt.Sprintf("`%s` has no %q", schema.Name, a.Name), "It is required: %s", a.Doc)
		}
	}
	s.inner(d)
	return d
}

func (s *Scope) inner(d *Block) {
	for _, b := range d.body.Blocks {
		schema := find(d.Schema.Blocks, b.Type)
		if schema == nil {
			s.unknownBlock(b, d.Schema.Blocks, fmt.Sprintf("in `%s`", d.Schema.Name))
			continue
		}
		if !s.CheckLabels(b, schema) {
			continue
		}
		if first := d.Blocks[b.Type]; schema.Once && len(first) > 0 {
			s.report.Errorf(b.DefRange(), fmt.Sprintf("a second `%s` block", b.Type), "`%s` takes one; the first is at %s. Put both together.", d.Schema.Name, Place(first[0].Range))
			continue
		}
		d.Blocks[b.Type] = append(d.Blocks[b.Type], s.Decode(b, schema))
	}
}

func (s *Scope) attribute(a *hclsyntax.Attribute, want Attr) (Value, bool) {
	v := Value{Value: cty.DynamicVal, Expr: a.Expr, Range: a.Expr.Range(), NameRange: a.NameRange}
	if want.Type == cty.NilType {
		return v, true
	}
	raw := s.Eval(a.Expr)
	if !raw.IsWhollyKnown() || raw.IsNull() {
		return v, false
	}
	got, err := convert.Convert(raw, want.Type)
	if err == nil && !s.pay(got, v.Range) {
		return v, false
	}
	if err != nil {
		s.report.Errorf(v.Range, fmt.Sprintf("%q must be %s", a.Name, want.typeName()), "It is %s. %s", typeName(raw.Type()), form(a.Name, want.Type))
		return v, false
	}
	if hasNull(got) {
		s.report.Errorf(v.Range, fmt.Sprintf("%q has a null in it", a.Name), "Every element needs a value. Leave the null element out.")
		return v, false
	}
	v.Value = got
	return v, true
}

func (s *Scope) unknownAttribute(a *hclsyntax.Attribute, schema *Schema) {
	if schema.Free {
		return
	}
	if why, ok := schema.Refused[a.Name]; ok {
		s.report.Errorf(a.NameRange, fmt.Sprintf("`%s` has no attribute %q", schema.Name, a.Name), "%s", why)
		return
	}
	names := schema.attrNames()
	if find(schema.Blocks, a.Name) != nil {
		s.report.Errorf(a.NameRange, fmt.Sprintf("%q is a block, not an attribute", a.Name), "Write `%s { ... }` without the equals sign.", a.Name)
		return
	}
	hint := DidYouMean(a.Name, names)
	for _, b := range schema.Blocks {
		close := func(name string) bool { return levenshtein.Distance(a.Name, name, nil) <= 1 }
		if hint == "" && slices.ContainsFunc(b.attrNames(), close) {
			hint = fmt.Sprintf(" It may belong into the block `%s`, which has %s.", b.Name, Join(b.attrNames(), "and"))
		}
	}
	if hint == "" {
		hint = fmt.Sprintf(" It has %s.", Join(names, "and"))
	}
	s.report.Errorf(a.NameRange, fmt.Sprintf("unknown attribute %q", a.Name), "`%s` has no attribute %q.%s", schema.Name, a.Name, hint)
}

func (s *Scope) unknownBlock(b *hclsyntax.Block, known []*Schema, where string) {
	var names []string
	for _, k := range known {
		names = append(names, k.Name)
	}
	hint := DidYouMean(b.Type, names)
	if hint == "" && len(names) > 0 {
		hint = fmt.Sprintf(" Blocks there are %s.", Join(names, "and"))
	}
	s.report.Errorf(b.TypeRange, fmt.Sprintf("unknown block %q", b.Type), "There is no block %q %s.%s", b.Type, where, hint)
}

func (s *Schema) attrNames() []string {
	var names []string
	for _, a := range s.Attrs {
		names = append(names, a.Name)
	}
	return names
}

func find(schemas []*Schema, name string) *Schema {
	i := slices.IndexFunc(schemas, func(s *Schema) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return schemas[i]
}
