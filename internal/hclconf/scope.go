package hclconf

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Scope is what expressions may refer to.
type Scope struct {
	report    *Report
	meter     *meter
	functions map[string]function.Function
	names     map[string]cty.Value
	uses      map[hclsyntax.Expression]uses
}

// uses is what an expression refers to, found before it is wrapped.
type uses struct {
	names []hcl.Traversal
	calls []*hclsyntax.FunctionCallExpr
}

func newScope(r *Report) *Scope {
	return &Scope{
		report:    r,
		meter:     &meter{left: budget, done: map[hclsyntax.Expression]bool{}},
		functions: functions(),
		names:     map[string]cty.Value{},
		uses:      map[hclsyntax.Expression]uses{},
	}
}

// With is the scope with one more name.
func (s *Scope) With(name string, value cty.Value) *Scope {
	inner := *s
	inner.names = maps.Clone(s.names)
	inner.names[name] = value
	return &inner
}

// Eval gives an expression's value. It gives an unknown value where that could not be
// found; the reason is then in the report.
func (s *Scope) Eval(e hclsyntax.Expression) cty.Value {
	if s.meter.spent != "" || s.report.full() || !s.check(e) {
		return cty.DynamicVal
	}
	var v cty.Value
	var ds hcl.Diagnostics
	within(func() {
		v, ds = s.meter.wrap(e).Value(&hcl.EvalContext{Variables: s.names, Functions: s.functions})
	})
	if s.meter.spent != "" {
		s.report.Errorf(e.Range(), "the expression makes too much", "%s The bound protects this machine; write the values out, or use smaller loops.", s.meter.spent)
		return cty.DynamicVal
	}
	s.report.Diagnostics(ds)
	if ds.HasErrors() {
		return cty.DynamicVal
	}
	return v
}

// pay charges a value made otherwise than by Eval and tells whether it can be used;
// where it cannot, the reason is in the report.
func (s *Scope) pay(v cty.Value, at hcl.Range) bool {
	fits := false
	switch {
	case !within(func() { fits = s.meter.pay(v) }):
		s.report.Errorf(at, "the values take too much", "%s The bound protects this machine.", s.meter.spent)
	case !fits:
		s.report.Diagnostics(hcl.Diagnostics{numberTooLarge(at)})
	}
	return fits
}

// payBlock charges the decoding of a block, which a family does once for each member.
func (s *Scope) payBlock(at hcl.Range) bool {
	s.meter.left -= unitsBlock
	return s.pay(cty.False, at)
}

func (s *Scope) usesOf(e hclsyntax.Expression) uses {
	u, ok := s.uses[e]
	if ok {
		return u
	}
	u.names = e.Variables()
	hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, is := n.(*hclsyntax.FunctionCallExpr); is {
			u.calls = append(u.calls, call)
		}
		return nil
	})
	s.uses[e] = u
	return u
}

// check reports references to names and functions that do not exist.
func (s *Scope) check(e hclsyntax.Expression) bool {
	ok := true
	for _, t := range s.usesOf(e).names {
		ok = s.checkName(t) && ok
	}
	for _, call := range s.usesOf(e).calls {
		if _, known := s.functions[call.Name]; !known {
			s.report.Errorf(call.NameRange, fmt.Sprintf("unknown function %q", call.Name), "%s", noFunction(call.Name, s.functions))
			ok = false
		}
	}
	return ok
}

func noFunction(name string, known map[string]function.Function) string {
	if why, ok := absent[name]; ok {
		return why
	}
	return fmt.Sprintf("There is no function %q; the reference documentation lists them all.%s", name, DidYouMean(name, slices.Sorted(maps.Keys(known))))
}

func (s *Scope) checkName(t hcl.Traversal) bool {
	root := t.RootName()
	v, known := s.names[root]
	if !known {
		s.report.Errorf(t.SourceRange(), fmt.Sprintf("unknown name %q", root), "%s", s.noName(root))
		return false
	}
	if len(t) < 2 || !v.IsKnown() || !v.Type().IsObjectType() {
		return true
	}
	attr, is := t[1].(hcl.TraverseAttr)
	if !is || v.Type().HasAttribute(attr.Name) {
		return true
	}
	kind, name := map[string]string{"var": "variable", "local": "local value"}[root], attr.Name
	if kind == "" {
		kind, name = "name", root+"."+attr.Name
	}
	have := slices.Sorted(maps.Keys(v.Type().AttributeTypes()))
	declare := ""
	switch root {
	case "var":
		declare = fmt.Sprintf(" Declare it with `variable %q { ... }`.", attr.Name)
	case "local":
		declare = fmt.Sprintf(" Declare it with `locals { %s = ... }`.", attr.Name)
	}
	if hint := DidYouMean(attr.Name, have); hint != "" {
		declare = hint
	}
	s.report.Errorf(t.SourceRange(), fmt.Sprintf("unknown %s %q", kind, name), "Known here: %s.%s", Join(have, "and"), declare)
	return false
}

func (s *Scope) noName(root string) string {
	switch root {
	case "each":
		return "`each` exists only in a block that has `for_each`."
	case "self", "path", "data", "module", "env":
		return fmt.Sprintf("There is no `%s` here: a template's value depends on its files and variables only.", root)
	}
	names := slices.Sorted(maps.Keys(s.names))
	if len(names) == 0 {
		return "Nothing can be referred to here. Write the value out; text stands in quotes."
	}
	hint := DidYouMean(root, names)
	if hint == "" {
		hint = fmt.Sprintf(" If it is meant as text, quote it: %q.", root)
	}
	return fmt.Sprintf("Expressions here can refer to %s.%s", Join(names, "and"), hint)
}
