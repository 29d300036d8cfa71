package solve

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"forge/internal/debian/dependency"
	"forge/internal/debian/version"
)

// proof is the set of packages that the requests force, each with what forced it.
type proof struct {
	*solver
	forced map[*node]step
	order  []*node // the parent's packages, then forced ones
}

// step is why a package is forced: a zero need for a request, else the group of which
// it is the only way left, and why the others are not.
type step struct {
	need
	others []string
}

// fault is a contradiction, and the packages whose chains show how it came about.
type fault struct {
	text string
	of   []*node
}

// explain says why the requests cannot be met. It follows what is forced until that
// contradicts itself; where nothing forced does, it shows for the first dependency whose
// every alternative fails why each one does.
func (s *solver) explain() error {
	p := &proof{solver: s, forced: map[*node]step{}, order: slices.DeleteFunc(s.ordered(), func(n *node) bool { return !n.installed })}
	for _, n := range s.requested {
		if f := p.force(n, step{}); f != nil {
			return p.report(f)
		}
	}
	if f := p.propagate(); f != nil {
		return p.report(f)
	}
	for _, w := range p.choices() {
		if f := p.everyWayFails(w.by, w.group); f != nil {
			return p.report(f)
		}
	}
	return unresolvable("", "no combination of packages satisfies the request: %s", strings.Join(s.request.Install, ", "))
}

// choices lists the first needs with several ways to meet them; a bound, for each is
// followed in all its ways.
func (p *proof) choices() []need {
	var out []need
	for _, n := range p.order {
		for _, w := range needsOf(n) {
			if !n.installed && len(out) < 100 && !slices.ContainsFunc(p.solutions(w.group), p.holds) {
				out = append(out, w)
			}
		}
	}
	return out
}

const parentHas = "the parent image has "

// report writes the fault first, then the chains that lead to it, one step a line.
func (p *proof) report(f *fault) error {
	next := ""
	if strings.Contains(f.text, parentHas) || slices.ContainsFunc(f.of, func(n *node) bool { return n.installed }) {
		next = "Run `forge lock --update`, so that the parent template moves first, or change what the parent installs."
	}
	text := f.text
	shown := map[string]bool{}
	for _, n := range f.of {
		for _, line := range p.chain(n) {
			if !shown[line] && !strings.HasSuffix(f.text, line) {
				text += "\n  " + line
			}
			shown[line] = true
		}
	}
	return unresolvable(next, "%s", text)
}

// chain lists the steps from a request to n.
func (p *proof) chain(n *node) []string {
	why, forced := p.forced[n]
	switch {
	case n.installed:
		return []string{parentHas + n.name + " " + n.cand.Version}
	case !forced:
		return nil
	case why.by == nil:
		return []string{n.name + " is requested"}
	}
	line := fmt.Sprintf("%s depends on %s", why.by.name, why.group)
	for _, o := range why.others {
		line += "; not " + o
	}
	return append(p.chain(why.by), line)
}

// force adds a package; a fault tells why it cannot be.
func (p *proof) force(n *node, why step) *fault {
	if p.holds(n) {
		return nil
	}
	o, text := p.against(n)
	p.forced[n] = why
	p.order = append(p.order, n)
	if o != nil {
		return &fault{text, []*node{n, o}}
	}
	return nil
}

// holds tells whether n will be in the image for sure.
func (p *proof) holds(n *node) bool {
	_, forced := p.forced[n]
	return forced || n.installed
}

// against finds something that holds and cannot go with n, and says why.
func (p *proof) against(n *node) (*node, string) {
	for _, o := range p.order {
		if o == n || o.cand == nil {
			continue
		}
		for _, pair := range [][2]*node{{n, o}, {o, n}} {
			for _, g := range pair[0].cand.negative {
				if slices.Contains(p.hit(pair[0], g), pair[1]) {
					return o, p.clashText(pair[0], g, pair[1])
				}
			}
		}
	}
	return nil, ""
}

func (p *proof) clashText(by *node, g group, hit *node) string {
	what := fmt.Sprintf("%s is %s", hit.name, hit.cand.Version)
	if hit.installed {
		what = parentHas + hit.name + " " + hit.cand.Version
	} else if g.Group[0].Name != hit.name {
		what = fmt.Sprintf("%s provides it", hit.name)
	}
	return fmt.Sprintf("%s %s %s %s, and %s", by.name, by.cand.Version, g.kind, g, what)
}

// propagate forces what every package forced leaves no choice about.
func (p *proof) propagate() *fault {
	for grown := -1; grown != len(p.order); {
		grown = len(p.order)
		for i := 0; i < len(p.order); i++ {
			n := p.order[i]
			if n.installed {
				continue
			}
			for _, g := range n.cand.needs() {
				if f := p.follow(n, g); f != nil {
					return f
				}
			}
		}
	}
	return nil
}

// follow forces the only way to meet a group.
func (p *proof) follow(n *node, g group) *fault {
	all := p.solutions(g)
	if slices.ContainsFunc(all, p.holds) {
		return nil
	}
	if len(all) == 0 {
		return &fault{p.missing(n, g), []*node{n}}
	}
	why := step{need: need{n, g}}
	var possible []*node
	for _, o := range all {
		if bad, text := p.against(o); bad == nil {
			possible = append(possible, o)
		} else {
			why.others = append(why.others, o.name+": "+text)
		}
	}
	switch {
	case len(possible) == 1:
		return p.force(possible[0], why)
	case len(all) == 1:
		return p.force(all[0], step{need: need{n, g}})
	case len(possible) == 0:
		return p.everyWayFails(n, g)
	}
	return nil
}

// everyWayFails tries each solution of a group in turn.
func (p *proof) everyWayFails(n *node, g group) *fault {
	text := fmt.Sprintf("%s depends on %s, and no alternative works", n.name, g)
	of := []*node{n}
	for _, o := range p.solutions(g) {
		branch := &proof{solver: p.solver, forced: maps.Clone(p.forced), order: slices.Clone(p.order)}
		f := branch.force(o, step{need: need{n, g}})
		if f == nil {
			f = branch.propagate()
		}
		if f == nil {
			return nil
		}
		text += fmt.Sprintf("\n  not %s: %s", o.name, strings.ReplaceAll(f.text, "\n", "\n  "))
		of = append(of, f.of...)
	}
	return &fault{text, of}
}

// missing tells what is there in place of what a group wants.
func (p *proof) missing(n *node, g group) string {
	parts := make([]string, len(g.Group))
	for i, a := range g.Group {
		parts[i] = p.missingOne(a)
	}
	return fmt.Sprintf("%s depends on %s, but %s", n.name, g, strings.Join(parts, "; "))
}

func (p *proof) missingOne(a dependency.Alternative) string {
	var have []string
	for _, e := range p.universe.names[a.Name] {
		have = append(have, e.version+" in "+e.where())
	}
	n := p.node(a.Name)
	switch {
	case n.installed && len(have) > 0:
		return fmt.Sprintf("%s%s %s (the archives have %s)", parentHas, a.Name, n.cand.Version, strings.Join(have, ", "))
	case n.installed:
		return fmt.Sprintf("%s%s %s", parentHas, a.Name, n.cand.Version)
	case n.cand != nil && slices.Contains(p.requested, n) && len(have) > 1:
		return fmt.Sprintf("%s=%s is requested", a.Name, n.cand.Version)
	case len(have) > 0:
		return fmt.Sprintf("%s has %s", a.Name, strings.Join(have, ", "))
	}
	unversioned := a
	unversioned.Op, unversioned.Version = version.Any, ""
	if owners := p.matching(unversioned); len(owners) > 0 {
		names := make([]string, len(owners))
		for i, o := range owners {
			names[i] = o.name
		}
		return fmt.Sprintf("%s is only provided, in no fitting version, by %s", a.Name, strings.Join(names, ", "))
	}
	return fmt.Sprintf("no package %q is in the archives%s", a.Name, p.didYouMean(a.Name))
}
