package hclconf

import (
	"fmt"
	"math/big"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

const (
	budget      = 16 << 20 // units that all evaluation of one directory may make
	unitsValue  = 16       // of a value, beside its text: a unit is about a byte
	unitsPairs  = 16       // pairs of elements of a tuple or object for one unit
	unitsBlock  = 256      // of decoding a block
	unitsFault  = 4096     // of an evaluation that failed, since messages are long
	maxExponent = 4096     // binary; a larger number takes megabytes as text
)

// meter bounds evaluation. HCL has no recursion, but loops within loops, doubled
// locals and repeated text grow exponentially, and the library cannot be interrupted.
// So every sub-expression is wrapped, and pays for the size of what it gives.
type meter struct {
	left  int
	spent string // why the budget is exhausted, "" while it is not
	done  map[hclsyntax.Expression]bool
}

// overBudget unwinds an evaluation, from within the library, to Scope.Eval.
type overBudget struct{}

func (m *meter) stop(why string) {
	if m.spent == "" {
		m.spent = why
	}
	panic(overBudget{})
}

// within runs f and tells whether it ended within the budget.
func within(f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(overBudget); !ours {
				panic(p)
			}
			ok = false
		}
	}()
	f()
	return true
}

// pay charges a value and tells whether its numbers are small enough to work with. It
// walks a shared value once for each use, as every consumer of the value would.
func (m *meter) pay(v cty.Value) (fits bool) {
	if m.left -= unitsValue; m.left < 0 {
		m.stop(fmt.Sprintf("The values that the expressions make take more than %d MiB.", budget>>20))
	}
	if !v.IsKnown() || v.IsNull() {
		return true
	}
	fits = true
	v, _ = v.Unmark()
	if ty := v.Type(); ty.IsTupleType() || ty.IsObjectType() {
		n := v.LengthInt()
		m.left -= n * n / unitsPairs // the library compares the types of all elements with each other
	}
	switch ty := v.Type(); {
	case ty == cty.String:
		if m.left -= len(v.AsString()); m.left < 0 {
			m.pay(cty.False)
		}
	case ty == cty.Number:
		fits = !tooBig(v.AsBigFloat())
	case ty.IsObjectType():
		for name := range ty.AttributeTypes() {
			m.left -= len(name)
			fits = m.pay(v.GetAttr(name)) && fits
		}
	case ty.IsCollectionType() || ty.IsTupleType():
		for it := v.ElementIterator(); it.Next(); {
			key, e := it.Element()
			if ty.IsMapType() {
				m.pay(key)
			}
			fits = m.pay(e) && fits
		}
	}
	return fits
}

func tooBig(f *big.Float) bool {
	e := f.MantExp(nil)
	return f.IsInf() || e > maxExponent || e < -maxExponent
}

// metered is an expression that pays for its value. The embedded interface carries
// the library's unexported methods.
type metered struct {
	hclsyntax.Expression
	m          *meter
	arithmetic bool // operand of an operator that makes a number of a text
}

// UnwrapExpression serves the static analysis of package hcl.
func (e metered) UnwrapExpression() hcl.Expression { return e.Expression }

func (e metered) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	v, ds := e.Expression.Value(ctx)
	fits := e.m.pay(v)
	if len(ds) > 0 {
		e.m.left -= unitsFault
	}
	if e.arithmetic && v.Type() == cty.String {
		if n, err := convert.Convert(v, cty.Number); err == nil {
			fits = e.m.pay(n)
		}
	}
	if !fits {
		e.m.left -= unitsFault
		return cty.DynamicVal, append(ds, numberTooLarge(e.Range()))
	}
	return v, ds
}

func numberTooLarge(at hcl.Range) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError, Subject: &at, Summary: "number too large",
		Detail: fmt.Sprintf("Numbers here go up to about 2 to the power of %d. Dividing by zero also gives one that is too large.", maxExponent),
	}
}

func (m *meter) wrap(e hclsyntax.Expression) hclsyntax.Expression {
	if e == nil {
		return nil
	}
	m.children(e)
	return metered{Expression: e, m: m}
}

func (m *meter) operand(e hclsyntax.Expression) hclsyntax.Expression {
	m.children(e)
	return metered{Expression: e, m: m, arithmetic: true}
}

func (m *meter) all(list []hclsyntax.Expression) {
	for i, e := range list {
		list[i] = m.wrap(e)
	}
}

// children wraps what an expression is made of, once.
func (m *meter) children(e hclsyntax.Expression) {
	if m.done[e] {
		return
	}
	m.done[e] = true
	switch e := e.(type) {
	case *hclsyntax.ParenthesesExpr:
		e.Expression = m.wrap(e.Expression)
	case *hclsyntax.RelativeTraversalExpr:
		e.Source = m.wrap(e.Source)
	case *hclsyntax.FunctionCallExpr:
		m.all(e.Args)
	case *hclsyntax.ConditionalExpr:
		e.Condition, e.TrueResult, e.FalseResult = m.wrap(e.Condition), m.wrap(e.TrueResult), m.wrap(e.FalseResult)
	case *hclsyntax.IndexExpr:
		e.Collection, e.Key = m.wrap(e.Collection), m.wrap(e.Key)
	case *hclsyntax.TupleConsExpr:
		m.all(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for i, item := range e.Items {
			m.children(item.KeyExpr)
			e.Items[i].ValueExpr = m.wrap(item.ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		if _, bare := e.Wrapped.(*hclsyntax.ScopeTraversalExpr); !bare {
			e.Wrapped = m.wrap(e.Wrapped)
		}
	case *hclsyntax.ForExpr:
		e.CollExpr, e.ValExpr = m.wrap(e.CollExpr), m.wrap(e.ValExpr)
		e.KeyExpr, e.CondExpr = m.wrap(e.KeyExpr), m.wrap(e.CondExpr)
	case *hclsyntax.SplatExpr:
		e.Source, e.Each = m.wrap(e.Source), m.wrap(e.Each)
	case *hclsyntax.BinaryOpExpr:
		e.LHS, e.RHS = m.operand(e.LHS), m.operand(e.RHS)
	case *hclsyntax.UnaryOpExpr:
		e.Val = m.operand(e.Val)
	case *hclsyntax.TemplateExpr:
		m.all(e.Parts)
	case *hclsyntax.TemplateJoinExpr:
		e.Tuple = m.wrap(e.Tuple)
	case *hclsyntax.TemplateWrapExpr:
		e.Wrapped = m.wrap(e.Wrapped)
	}
}
