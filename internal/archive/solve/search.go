package solve

import (
	"slices"
)

// maxTries bounds the choices that a search goes through.
const maxTries = 2000

// need is a group that a marked package asks for.
type need struct {
	by    *node
	group group
}

// searcher looks for any set of packages that works, where apt's first way failed: it
// settles what leaves no choice, then takes apt's preferences from left to right, going
// back when they lead nowhere.
type searcher struct {
	*solver
	banned map[*node]int // by how many relations of marked packages
	tries  int
}

func (s *solver) search() error {
	s.ties = nil
	f := &searcher{solver: s, banned: map[*node]int{}}
	for _, n := range s.ordered() {
		if n.installed {
			f.ban(n, 1)
		}
	}
	var open []need
	for _, n := range s.requested {
		if n.installed {
			continue
		}
		if f.clashes(n) {
			return s.explain()
		}
		f.take(n)
		open = append(open, needsOf(n)...)
	}
	switch {
	case f.extend(open) && len(s.ties) == 0:
		return nil
	case len(s.ties) > 0:
		return s.ties[len(s.ties)-1].chooseOne() // the outermost
	case f.tries > maxTries:
		return unresolvable("Request fewer packages at once, or name the alternatives you want in `install`.",
			"no solution found within %d choices", maxTries)
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
func (f *searcher) extend(open []need) bool {
	if f.tries++; f.tries > maxTries {
		return false
	}
	open, taken, ok := f.settle(open)
	if ok && len(open) == 0 {
		return true
	}
	if ok {
		options := f.viable(open[0].group)
		for i, o := range options {
			f.take(o)
			if f.extend(slices.Concat(open[1:], needsOf(o))) {
				if equal := f.equals(open[0].group, options[i:]); len(equal) > 1 {
					f.ties = append(f.ties, tie{by: open[0].by, group: open[0].group, options: equal})
				}
				return true
			}
			f.drop(o)
		}
	}
	for _, n := range taken {
		f.drop(n)
	}
	return false
}

// settle takes what leaves no choice until every open need has at least two ways.
func (f *searcher) settle(open []need) (rest []need, taken []*node, ok bool) {
	for settled := false; !settled; {
		settled, rest = true, nil
		for i := 0; i < len(open); i++ {
			if f.satisfied(open[i].group) {
				continue
			}
			switch viable := f.viable(open[i].group); len(viable) {
			case 0:
				return nil, taken, false
			case 1:
				f.take(viable[0])
				taken = append(taken, viable[0])
				open = append(slices.Clip(open), needsOf(viable[0])...)
				settled = false
			default:
				rest = append(rest, open[i])
			}
		}
		open = rest
	}
	return rest, taken, true
}

// viable lists the solutions that go with everything marked.
func (f *searcher) viable(g group) []*node {
	return slices.DeleteFunc(f.solutions(g), f.clashes)
}

// clashes tells whether n excludes something marked or is excluded by it.
func (f *searcher) clashes(n *node) bool {
	if n.marked || f.banned[n] > 0 {
		return !n.marked
	}
	return slices.ContainsFunc(n.cand.negative, func(g group) bool {
		return slices.ContainsFunc(f.hit(n, g), func(o *node) bool { return o.marked })
	})
}

func (f *searcher) take(n *node) {
	n.marked = true
	f.ban(n, 1)
}

func (f *searcher) drop(n *node) {
	n.marked = false
	f.ban(n, -1)
}

func (f *searcher) ban(n *node, by int) {
	if n.cand == nil {
		return
	}
	for _, g := range n.cand.negative {
		for _, o := range f.hit(n, g) {
			f.banned[o] += by
		}
	}
}
