package solve

import (
	"slices"
)

// maxTries bounds the choices that a search goes through.
const maxTries = 4000

// need is a group that a marked package asks for.
type need struct {
	by    *node
	group group
}

// search looks for any set of packages that works, where the classic way failed: it
// settles what leaves no choice first, then takes apt's preferences from left to right,
// going back when they lead nowhere.
func (s *solver) search() error {
	s.steps, s.ties = 0, nil
	var open []need
	for _, n := range s.requested {
		if o := s.clash(n); o != nil {
			return s.explain()
		}
		n.marked = true
		open = append(open, needsOf(n)...)
	}
	if s.extend(open) {
		if len(s.ties) > 0 {
			return s.ties[len(s.ties)-1].chooseOne()
		}
		return nil
	}
	if s.steps > maxTries {
		return unresolvable("Request fewer packages at once, or name the alternatives you want in `install`.",
			"no solution found within %d choices", maxTries)
	}
	for _, n := range s.nodes {
		n.marked = n.installed
	}
	return s.explain()
}

func needsOf(n *node) []need {
	var out []need
	for _, g := range n.cand.needs() {
		out = append(out, need{n, g})
	}
	return out
}

// extend meets all open needs, or leaves the marks as they were.
func (s *solver) extend(open []need) bool {
	if s.steps++; s.steps > maxTries {
		return false
	}
	var rest []need
	for _, w := range open {
		if !s.satisfied(w.group) {
			rest = append(rest, w)
		}
	}
	if len(rest) == 0 {
		return true
	}
	pick, options := rest[0], []*node(nil)
	for i, w := range rest {
		viable := s.viable(w.group)
		if len(viable) == 0 {
			return false
		}
		if i == 0 || len(viable) == 1 {
			pick, options = w, viable
		}
		if len(viable) == 1 {
			break
		}
	}
	for i, o := range options {
		o.marked = true
		if s.extend(slices.Concat(rest, needsOf(o))) {
			if equal := s.equals(pick.group, options[i:]); len(equal) > 1 {
				s.ties = append(s.ties, tie{by: pick.by, group: pick.group, options: equal})
			}
			return true
		}
		o.marked = false
	}
	return false
}

// viable lists the solutions that go with everything marked.
func (s *solver) viable(g group) []*node {
	return slices.DeleteFunc(s.solutions(g), func(o *node) bool { return s.clash(o) != nil })
}

// clash finds a marked package that excludes n or that n excludes.
func (s *solver) clash(n *node) *node {
	if n.marked {
		return nil
	}
	for _, g := range n.cand.negative {
		for _, o := range s.hit(n, g) {
			if o.marked {
				return o
			}
		}
	}
	for _, o := range s.ordered() {
		if !o.marked || o.cand == nil {
			continue
		}
		for _, g := range o.cand.negative {
			if slices.Contains(s.hit(o, g), n) {
				return o
			}
		}
	}
	return nil
}
