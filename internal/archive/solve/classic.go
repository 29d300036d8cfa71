package solve

import (
	"slices"
)

// Bounds of one Solve; the largest closures of Debian stay under a hundredth.
const (
	maxDepth = 3000 // apt's own
	maxSteps = 2_000_000
)

// classic marks the requests and what they need as apt's MarkInstall does: all requests
// first, then each one's dependencies depth first, a group that something marked
// satisfies passed over. It may leave dependencies unmet.
func (s *solver) classic(order []*node) {
	s.ties = nil
	for _, n := range order {
		n.protected = true
		s.mark(n, false, 0, true)
	}
	for _, n := range order {
		s.mark(n, true, 0, true)
	}
}

// mark takes n and, with deep, what it needs. It tells whether that worked out; when not,
// and n is not protected, n loses its candidate and is not tried again.
func (s *solver) mark(n *node, deep bool, depth int, byUser bool) bool {
	s.steps++
	switch {
	case depth > maxDepth || s.steps > maxSteps || n.cand == nil:
		return false
	case n.installed:
		return true
	case !byUser && !n.marked && n.protected:
		return false
	case n.marked && !n.protected && s.complete(n):
		return true
	case deep && !s.satisfiable(n):
		return false
	case !deep:
		n.marked = true
		return true
	}
	if byUser {
		n.marked = true
	}
	was, fussy := n.protected, !n.protected && !byUser
	open := slices.DeleteFunc(slices.Clone(n.cand.positive), func(g group) bool { return !was && s.satisfied(g) })
	ok := s.dropConflicting(n, was, fussy)
	if !ok && fussy {
		return false
	}
	n.marked = true
	n.protected = true // while its dependencies are marked
	met := s.markNeeds(n, open, depth, was, fussy)
	n.protected = was
	if !met && fussy {
		n.marked, n.cand = false, nil
		return false
	}
	return ok && met
}

// complete tells whether everything n demands of the marked packages is met.
func (s *solver) complete(n *node) bool {
	for _, g := range n.cand.positive {
		if !s.satisfied(g) {
			return false
		}
	}
	for _, g := range n.cand.negative {
		if slices.ContainsFunc(s.hit(n, g), func(o *node) bool { return o.marked }) {
			return false
		}
	}
	return true
}

// satisfiable tells whether every group of n still has a candidate. When not, n loses
// its own, unless protected.
func (s *solver) satisfiable(n *node) bool {
	for _, g := range n.cand.positive {
		if len(s.candidates(g)) > 0 {
			continue
		}
		if !n.protected {
			n.marked, n.cand = false, nil
		}
		return false
	}
	return true
}

// candidates lists all that could satisfy a group, in no special order.
func (s *solver) candidates(g group) []*node {
	var out []*node
	for _, a := range g.Group {
		out = append(out, s.matching(a)...)
	}
	return out
}

// dropConflicting takes the marks of what n excludes. With hard (n was protected) those
// packages are lost for good.
func (s *solver) dropConflicting(n *node, hard, fussy bool) bool {
	ok := true
	for _, g := range n.cand.negative {
		for _, o := range s.hit(n, g) {
			switch {
			case !hard && !o.marked:
			case o.marked && o.protected:
				ok = false
				if fussy {
					return false
				}
			case hard:
				o.marked, o.cand, o.protected = false, nil, true
			default:
				o.marked = false
			}
		}
	}
	return ok
}

// markNeeds marks a solution of every group. With hard (n was protected) groups that
// leave no choice become protected, too, so that later choices must respect them.
func (s *solver) markNeeds(n *node, groups []group, depth int, hard, fussy bool) bool {
	ok := true
	for _, g := range groups {
		options := s.solutions(g)
		if s.satisfied(g) {
			if hard && len(options) == 1 && !options[0].protected {
				options[0].protected = true
				ok = s.mark(options[0], true, depth+1, false) && ok
			}
			continue
		}
		if !s.markOne(n, g, options, depth, hard) {
			ok = false
			if fussy {
				return false
			}
		}
	}
	return ok
}

// markOne marks the first option that works out.
func (s *solver) markOne(n *node, g group, options []*node, depth int, hard bool) bool {
	for i, o := range options {
		if o.cand == nil {
			continue
		}
		if tied := s.tied(g, options[i:], depth); len(tied) > 1 {
			s.ties = append(s.ties, tie{by: n, group: g, options: tied})
		}
		if hard && len(options) == 1 {
			if !s.mark(o, false, depth+1, false) {
				continue
			}
			o.protected = true
		}
		if s.mark(o, true, depth+1, false) {
			return true
		}
	}
	return false
}

// tied lists the first option and those that only apt's cache would set apart from it
// and that would work out as well. The first one is always in the list.
func (s *solver) tied(g group, options []*node, depth int) []*node {
	equal := s.equals(g, options)
	if len(equal) < 2 || s.trial > 0 {
		return nil
	}
	s.trial++
	defer func() { s.trial-- }()
	var out []*node
	for _, o := range equal {
		before := s.snapshot()
		if s.mark(o, true, depth+1, false) {
			out = append(out, o)
		}
		s.restore(before)
	}
	return out
}

// equals lists the options of the same rank as the first, which come from the same
// alternative.
func (s *solver) equals(g group, options []*node) []*node {
	for _, a := range g.Group {
		list := s.matching(a)
		if !slices.Contains(list, options[0]) {
			continue
		}
		return slices.DeleteFunc(slices.Clone(options), func(o *node) bool {
			return o.cand == nil || !slices.Contains(list, o) || preferred(a.Name, options[0], o) != 0
		})
	}
	return nil
}

// consistent tells whether the requests are marked and everything marked is complete.
func (s *solver) consistent() bool {
	for _, n := range s.requested {
		if !n.marked {
			return false
		}
	}
	for _, n := range s.ordered() {
		if !n.marked || n.stub || n.cand == nil {
			continue
		}
		if n.installed {
			for _, g := range n.cand.negative {
				if slices.ContainsFunc(s.hit(n, g), func(o *node) bool { return o.marked && !o.installed }) {
					return false
				}
			}
			continue
		}
		if !s.complete(n) {
			return false
		}
	}
	return true
}
