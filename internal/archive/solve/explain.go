package solve

import (
	"fmt"
	"slices"
	"strings"

	"forge/internal/debian/dependency"
	"forge/internal/debian/version"
)

// proof is the set of packages that the requests force, each with what forced it.
type proof struct {
	*solver
	forced map[*node]need // a zero need for a request
	order  []*node
}

// explain says why the requests cannot be met. It follows what is forced until that
// contradicts itself; where nothing forced does, it shows for the first dependency whose
// every alternative fails why each one does.
func (s *solver) explain() error {
	p := &proof{solver: s, forced: map[*node]need{}}
	for _, n := range s.requested {
		if text := p.force(n, need{}); text != "" {
			return unresolvable("", "%s", text)
		}
	}
	if text := p.propagate(); text != "" {
		return unresolvable(p.mend(text), "%s", text)
	}
	for _, n := range p.order {
		for _, g := range n.cand.needs() {
			if text := p.everyWayFails(n, g); text != "" {
				return unresolvable("", "%s", text)
			}
		}
	}
	return unresolvable("", "no combination of packages satisfies the request %s", strings.Join(s.request.Install, ", "))
}

// mend is the next step where the parent's packages stand in the way.
func (p *proof) mend(text string) string {
	if strings.Contains(text, parentHas) {
		return "Run `forge lock --update` so that the parent template moves to the newer packages first, or change what the parent installs."
	}
	return ""
}

const parentHas = "the parent image has "

// force adds a package; a text tells why it cannot be.
func (p *proof) force(n *node, why need) string {
	if _, known := p.forced[n]; known || n.installed {
		return ""
	}
	p.forced[n] = why
	p.order = append(p.order, n)
	for _, o := range p.ordered() {
		if o == n || o.stub || n.stub || o.cand == nil {
			continue
		}
		if _, known := p.forced[o]; !known && !o.installed {
			continue
		}
		for _, pair := range [][2]*node{{n, o}, {o, n}} {
			for _, g := range pair[0].cand.negative {
				if slices.Contains(p.hit(pair[0], g), pair[1]) {
					return p.lines(n) + p.lines(o) + fmt.Sprintf("%s %s %s %s, and %s is %s",
						pair[0].name, pair[0].cand.Version, g.kind, g, pair[1].name, pair[1].cand.Version)
				}
			}
		}
	}
	return ""
}

// propagate forces what every package forced leaves no choice about.
func (p *proof) propagate() string {
	for grown := -1; grown != len(p.order); {
		grown = len(p.order)
		for i := 0; i < len(p.order); i++ {
			n := p.order[i]
			for _, g := range n.cand.needs() {
				all := p.solutions(g)
				if slices.ContainsFunc(all, p.holds) {
					continue
				}
				possible := slices.DeleteFunc(slices.Clone(all), func(o *node) bool { return p.against(o) != nil })
				text := ""
				switch {
				case len(all) == 0:
					text = p.lines(n) + p.missing(n, g)
				case len(possible) == 0:
					text = p.force(all[0], need{n, g})
				case len(possible) == 1:
					text = p.force(possible[0], need{n, g})
				}
				if text != "" {
					return text
				}
			}
		}
	}
	return ""
}

func (p *proof) holds(n *node) bool {
	_, forced := p.forced[n]
	return forced || n.installed
}

// against finds what is forced and cannot go with n.
func (p *proof) against(n *node) *node {
	for _, o := range p.ordered() {
		if o == n || !p.holds(o) || o.cand == nil {
			continue
		}
		for _, pair := range [][2]*node{{n, o}, {o, n}} {
			for _, g := range pair[0].cand.negative {
				if slices.Contains(p.hit(pair[0], g), pair[1]) {
					return o
				}
			}
		}
	}
	return nil
}

// everyWayFails tries each solution of a group in turn.
func (p *proof) everyWayFails(n *node, g group) string {
	var b strings.Builder
	options := p.solutions(g)
	if slices.ContainsFunc(options, p.holds) {
		return ""
	}
	for _, o := range options {
		branch := &proof{solver: p.solver, forced: map[*node]need{}, order: slices.Clone(p.order)}
		for n, w := range p.forced {
			branch.forced[n] = w
		}
		text := branch.force(o, need{n, g})
		if text == "" {
			text = branch.propagate()
		}
		if text == "" {
			return ""
		}
		fmt.Fprintf(&b, "\n  not with %s: %s", o.name, strings.ReplaceAll(text, "\n", "\n  "))
	}
	return p.lines(n) + fmt.Sprintf("%s depends on %s, and no alternative works", n.name, g) + b.String()
}

// lines writes the chain from a request to n, one step a line.
func (p *proof) lines(n *node) string {
	if n.installed {
		return fmt.Sprintf("%s%s %s\n", parentHas, n.name, n.cand.Version)
	}
	why := p.forced[n]
	if why.by == nil {
		return n.name + " is requested\n"
	}
	return p.lines(why.by) + fmt.Sprintf("%s depends on %s\n", why.by.name, why.group)
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
		return fmt.Sprintf("%s%s %s (there is %s)", parentHas, a.Name, n.cand.Version, strings.Join(have, ", "))
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
