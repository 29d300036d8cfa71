package hclconf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// given is a variable's value from outside, and the place it comes from.
type given struct {
	value cty.Value
	text  string // of --var, where isText
	is    bool
	at    hcl.Range
}

type variable struct {
	block    *Block
	ty       cty.Type
	defaults *typeexpr.Defaults
}

func (c *Conf) loadVariables(blocks []*hclsyntax.Block, in Inputs) {
	declared := map[string]*variable{}
	for _, b := range c.Scope.Each(blocks, VariableSchema) {
		name := b.Labels[0].Text
		if first, twice := declared[name]; twice {
			c.Report.Errorf(b.Labels[0].Range, fmt.Sprintf("variable %q is declared twice", name), "The first is at %s. Delete one of them.", Place(first.block.Range))
			continue
		}
		declared[name] = c.declare(b)
	}
	values := c.givenValues(declared, in)
	c.Variables = map[string]string{}
	attrs := map[string]cty.Value{}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		attrs[name] = c.variableValue(declared[name], values[name])
		if v := attrs[name]; v.IsWhollyKnown() {
			if data, err := ctyjson.Marshal(v, v.Type()); err == nil {
				c.Variables[name] = string(data)
			}
		}
	}
	c.Scope.names["var"] = cty.ObjectVal(attrs)
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		c.validate(declared[name], attrs[name])
	}
}

func (c *Conf) declare(b *Block) *variable {
	v := &variable{block: b, ty: cty.DynamicPseudoType}
	if t, ok := b.Attrs["type"]; ok {
		ty, defaults, ds := typeexpr.TypeConstraintWithDefaults(t.Expr)
		for _, d := range ds {
			d.Detail += " Types are string, number, bool, any, list(...), set(...), map(...), object({...}) and tuple([...])."
		}
		c.Report.Diagnostics(ds)
		if !ds.HasErrors() {
			v.ty, v.defaults = ty, defaults
		}
	}
	return v
}

func (c *Conf) variableValue(v *variable, g given) cty.Value {
	name := v.block.Labels[0].Text
	if g.text != "" || g.is {
		return c.conform(v, c.parseText(v, g), g.at)
	}
	if g.value != cty.NilVal {
		return c.conform(v, g.value, g.at)
	}
	d, ok := v.block.Attrs["default"]
	if !ok {
		c.Report.Errorf(v.block.Range, fmt.Sprintf("variable %q has no value", name), "It has no default, so give it one with `--var %s=...` or in a file with --var-file.", name)
		return cty.DynamicVal
	}
	return c.conform(v, c.Scope.Eval(d.Expr), d.Range)
}

// parseText reads the value of a --var: as text where the variable takes text, else as
// an expression.
func (c *Conf) parseText(v *variable, g given) cty.Value {
	if v.ty == cty.String || v.ty == cty.DynamicPseudoType {
		return cty.StringVal(g.text)
	}
	c.Report.sources[g.at.Filename] = []byte(g.text)
	tokens, _ := hclsyntax.LexConfig([]byte(g.text), g.at.Filename, hcl.InitialPos)
	if at, what := tooDeep(tokens); what != "" {
		c.Report.Errorf(at, what, "Give a simpler value.")
		return cty.DynamicVal
	}
	e, ds := hclsyntax.ParseExpression([]byte(g.text), g.at.Filename, hcl.InitialPos)
	c.Report.Diagnostics(ds)
	if ds.HasErrors() {
		return cty.DynamicVal
	}
	return c.Scope.Eval(e)
}

func (c *Conf) conform(v *variable, value cty.Value, at hcl.Range) cty.Value {
	if !value.IsWhollyKnown() {
		return cty.DynamicVal
	}
	if v.defaults != nil && !value.IsNull() {
		if !c.Scope.pay(value, at) {
			return cty.DynamicVal
		}
		value = v.defaults.Apply(value)
	}
	got, err := convert.Convert(value, v.ty)
	if err != nil {
		c.Report.Errorf(at, fmt.Sprintf("the value of variable %q has another type", v.block.Labels[0].Text),
			"The variable takes %s, but the value does not fit: %s. Its type is declared at %s.", typeName(v.ty), err, Place(v.block.Attrs["type"].Range))
		return cty.DynamicVal
	}
	if !c.Scope.pay(got, at) {
		return cty.DynamicVal
	}
	return got
}

func (c *Conf) validate(v *variable, value cty.Value) {
	for _, rule := range v.block.Blocks["validation"] {
		condition, ok := rule.Attrs["condition"]
		if !ok || !value.IsWhollyKnown() {
			continue
		}
		holds, err := convert.Convert(c.Scope.Eval(condition.Expr), cty.Bool)
		if err != nil || holds.IsNull() {
			c.Report.Errorf(condition.Range, "the condition is neither true nor false", "A validation's condition must be an expression of true or false.")
			continue
		}
		if holds.IsKnown() && holds.False() {
			message, _ := rule.Text("error_message")
			c.Report.Errorf(rule.Range, fmt.Sprintf("variable %q has a value that is not allowed", v.block.Labels[0].Text), "%s The value is %s.", strings.TrimSpace(message), short(c.Variables[v.block.Labels[0].Text]))
		}
	}
}

func short(text string) string {
	if len(text) > 100 {
		return strings.ToValidUTF8(text[:100], "") + "..."
	}
	return text
}

func (c *Conf) givenValues(declared map[string]*variable, in Inputs) map[string]given {
	values := map[string]given{}
	for _, f := range in.VarFiles {
		maps.Copy(values, c.varFile(f))
	}
	for _, name := range slices.Sorted(maps.Keys(in.Vars)) {
		values[name] = given{text: in.Vars[name], is: true, at: hcl.Range{Filename: "--var " + name}}
	}
	known := slices.Sorted(maps.Keys(declared))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := declared[name]; !ok {
			c.Report.Errorf(values[name].at, fmt.Sprintf("no variable %q", name), "A value is given for it, but the directory declares %s.%s", Join(known, "and"), DidYouMean(name, known))
		}
	}
	return values
}

// varFile reads NAME = VALUE lines, or a JSON object.
func (c *Conf) varFile(f File) map[string]given {
	values := map[string]given{}
	if len(f.Data) > maxFile {
		c.Report.Errorf(hcl.Range{Filename: f.Name}, "the variables file is too large", "It may have %d MiB.", maxFile>>20)
		return values
	}
	if isJSON(f.Name) {
		return c.jsonVarFile(f)
	}
	body := parseFile(c.Report, f)
	if body == nil {
		return values
	}
	for _, b := range body.Blocks {
		c.Report.Errorf(b.TypeRange, "a block in a variables file", "A variables file has lines of the form NAME = VALUE only.")
	}
	for _, a := range sortedAttributes(body) {
		values[a.Name] = given{value: c.Scope.Eval(a.Expr), at: a.Expr.Range()}
	}
	return values
}

func (c *Conf) jsonVarFile(f File) map[string]given {
	values := map[string]given{}
	c.Report.sources[f.Name] = f.Data
	if deepJSON(f.Data) {
		c.Report.Errorf(hcl.Range{Filename: f.Name}, fmt.Sprintf("brackets nested more than %d deep", maxNesting), "Give simpler values.")
		return values
	}
	parsed, ds := hcljson.Parse(f.Data, f.Name)
	c.Report.Diagnostics(ds)
	if ds.HasErrors() {
		return values
	}
	attrs, ds := parsed.Body.JustAttributes()
	c.Report.Diagnostics(ds)
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		v, ds := attrs[name].Expr.Value(nil)
		c.Report.Diagnostics(ds)
		values[name] = given{value: v, at: attrs[name].Expr.Range()}
	}
	return values
}

// deepJSON tells whether brackets outside of strings nest too deep.
func deepJSON(data []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '[', '{':
			if !quoted {
				depth++
			}
		case ']', '}':
			if !quoted {
				depth--
			}
		}
		if depth > maxNesting {
			return true
		}
	}
	return false
}

const maxLocals = 1000 // of a directory

type local struct {
	attr  *hclsyntax.Attribute
	state int // 0 untouched, 1 under way, 2 done
}

func (c *Conf) loadLocals(blocks []*hclsyntax.Block) {
	all := map[string]*local{}
	for _, b := range c.Scope.raw(blocks, LocalsSchema) {
		for _, a := range sortedAttributes(b.Body) {
			if first, twice := all[a.Name]; twice {
				c.Report.Errorf(a.NameRange, fmt.Sprintf("local value %q is defined twice", a.Name), "The first is at %s. Delete one of them.", Place(first.attr.NameRange))
				continue
			}
			all[a.Name] = &local{attr: a}
		}
	}
	if len(all) > maxLocals {
		c.Report.Errorf(blocks[0].DefRange(), fmt.Sprintf("more than %d local values", maxLocals), "The directory has %d. Split it.", len(all))
		all = nil
	}
	values := map[string]cty.Value{}
	order := c.orderLocals(all)
	for name := range all {
		values[name] = cty.DynamicVal
	}
	for _, name := range order {
		c.Scope.names["local"] = cty.ObjectVal(values)
		values[name] = c.Scope.Eval(all[name].attr.Expr)
	}
	c.Scope.names["local"] = cty.ObjectVal(values)
}

// orderLocals puts every local value after those it refers to, and reports those that
// refer to themselves.
func (c *Conf) orderLocals(all map[string]*local) []string {
	var order, path []string
	var visit func(name string)
	visit = func(name string) {
		l, ok := all[name]
		if !ok || l.state == 2 {
			return
		}
		if l.state == 1 {
			loop := append(path[slices.Index(path, name):], name)
			c.Report.Errorf(l.attr.NameRange, fmt.Sprintf("local value %q refers to itself", name), "%s", circle("local.", loop))
			return
		}
		l.state = 1
		path = append(path, name)
		for _, t := range c.Scope.usesOf(l.attr.Expr).names {
			if attr, is := secondName(t); is && t.RootName() == "local" {
				visit(attr)
			}
		}
		path = path[:len(path)-1]
		l.state = 2
		order = append(order, name)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		visit(name)
	}
	return order
}

// circle words a chain of references that ends where it began.
func circle(prefix string, loop []string) string {
	text := prefix + loop[0]
	for _, n := range loop[1:] {
		text += " needs " + prefix + n
		if len(text) > 500 {
			text += " ..."
			break
		}
	}
	return text + ". Break the circle by writing one of the values out."
}

func secondName(t hcl.Traversal) (string, bool) {
	if len(t) < 2 {
		return "", false
	}
	switch step := t[1].(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String {
			return step.Key.AsString(), true
		}
	}
	return "", false
}
