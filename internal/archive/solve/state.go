package solve

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"forge/internal/debian/dependency"
	"forge/internal/debian/version"
)

// solver is the state of one Solve: every package name met so far.
type solver struct {
	universe  *Universe
	request   Request
	nodes     map[string]*node
	provided  map[string][]*node // by installed packages, which may be in no index
	requested []*node            // by name
	ties      []tie
	malformed error // the first unreadable package that was looked at
	trial     int   // depth of tried ties; inside one, further ties are not looked for
	steps     int
}

// node is a package name; at most one version of it can be taken.
type node struct {
	name      string
	cand      *pack // the version to take, nil when there is none (any more)
	marked    bool  // taken
	protected bool  // only the user could take it back
	installed bool  // in the parent image: marked for good
	stub      bool  // excluded: satisfies everything that names it, and is never put out
}

// pack is a candidate with its relations ready for use.
type pack struct {
	*Package
	entry    *entry // nil when from no index
	positive []group
	negative []group
}

// group is a dependency with its kind for messages.
type group struct {
	dependency.Group
	kind string // "depends on", "conflicts with", "breaks"
}

func (p *pack) needs() []group {
	if p == nil {
		return nil
	}
	return p.positive
}

func newPack(p *Package, e *entry) *pack {
	out := &pack{Package: p, entry: e}
	for _, g := range slices.Concat(p.PreDepends, p.Depends) {
		out.positive = append(out.positive, group{g, "depends on"})
	}
	for _, g := range p.Conflicts {
		out.negative = append(out.negative, group{g, "conflicts with"})
	}
	for _, g := range p.Breaks {
		out.negative = append(out.negative, group{g, "breaks"})
	}
	return out
}

// newSolver sets up the parent's packages, the exclusions and the requests.
func newSolver(u *Universe, r Request) (*solver, error) {
	s := &solver{universe: u, request: r, nodes: map[string]*node{}, provided: map[string][]*node{}}
	for i := range r.Installed {
		s.install(&r.Installed[i])
	}
	for name := range r.Exclude {
		if n := s.node(name); !n.installed {
			*n = node{name: name, stub: true, cand: stubOf(n)}
		}
	}
	if s.malformed != nil {
		return nil, s.malformed
	}
	return s, s.resolveRequests()
}

// stubOf keeps what an excluded package provides, but none of its demands.
func stubOf(n *node) *pack {
	if n.cand == nil {
		return newPack(&Package{Name: n.name}, nil)
	}
	p := *n.cand.Package
	p.PreDepends, p.Depends, p.Conflicts, p.Breaks = nil, nil, nil, nil
	return newPack(&p, n.cand.entry)
}

// install sets up a package of the parent. One that says nothing of its relations is
// looked up in the indexes, where it usually still is.
func (s *solver) install(p *Package) {
	var found *entry
	if len(p.PreDepends)+len(p.Depends)+len(p.Conflicts)+len(p.Breaks)+len(p.Provides) == 0 {
		for _, e := range s.universe.names[p.Name] {
			if e.version == p.Version && e.arch == p.Arch {
				found = e
			}
		}
	}
	n := &node{name: p.Name, marked: true, protected: true, installed: true, cand: newPack(p, nil)}
	if found != nil {
		n.cand = s.read(found)
	}
	s.nodes[p.Name] = n
	if n.cand == nil {
		return
	}
	for _, g := range n.cand.Provides {
		name := g[0].Name
		if g[0].Qualifier == "any" {
			name += ":any"
		}
		s.provided[name] = append(s.provided[name], n)
	}
}

// node finds or makes the node of a name, its candidate the best of the indexes.
func (s *solver) node(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = &node{name: name}
		if list := s.universe.names[name]; len(list) > 0 {
			n.cand = s.read(list[0])
		}
		s.nodes[name] = n
	}
	return n
}

func (s *solver) read(e *entry) *pack {
	p, err := e.parse()
	if err != nil {
		s.malformed = cmp.Or(s.malformed, err)
		return nil
	}
	return newPack(p, e)
}

// ordered lists all nodes by name.
func (s *solver) ordered() []*node {
	return slices.SortedFunc(maps.Values(s.nodes), func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

type snapshot map[string]node

func (s *solver) snapshot() snapshot {
	out := make(snapshot, len(s.nodes))
	for name, n := range s.nodes {
		out[name] = *n
	}
	return out
}

// restore goes back to a snapshot. Nodes stay the same objects; those met since then
// lose their marks.
func (s *solver) restore(old snapshot) {
	for name, n := range s.nodes {
		if was, ok := old[name]; ok {
			*n = was
			continue
		}
		n.marked, n.protected = false, false
		if list := s.universe.names[name]; len(list) > 0 && n.cand == nil {
			n.cand = s.read(list[0])
		}
	}
}

// matching lists the nodes whose candidate satisfies an alternative: the package of
// that name first, then those that provide it, by name.
func (s *solver) matching(a dependency.Alternative) []*node {
	if !a.OnArch(s.universe.arch) {
		return nil
	}
	key := a.Name
	switch a.Qualifier {
	case "any":
		key += ":any"
	case "", "native", s.universe.arch:
	default:
		return nil
	}
	var out []*node
	if n := s.node(a.Name); n.cand != nil && (n.stub || a.Op.Holds(n.cand.Version, a.Version) && (a.Qualifier != "any" || n.cand.MultiArch == "allowed")) {
		out = append(out, n)
	}
	real := len(out)
	out = s.providers(out, key, a, false)
	if a.Qualifier == "any" {
		out = s.providers(out, a.Name, a, true)
	}
	slices.SortFunc(out[real:], func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return slices.Compact(out)
}

// providers adds those that provide key; allowed asks for Multi-Arch: allowed.
func (s *solver) providers(out []*node, key string, a dependency.Alternative, allowed bool) []*node {
	for _, p := range s.universe.provides[key] {
		n := s.node(p.owner.name)
		if n.cand == nil || n.cand.entry != p.owner || n.installed || slices.Contains(out, n) {
			continue
		}
		if provides(p.version, a) && (!allowed || n.cand.MultiArch == "allowed") {
			out = append(out, n)
		}
	}
	for _, n := range s.provided[key] {
		for _, g := range n.cand.Provides {
			if g[0].Name == a.Name && provides(g[0].Version, a) && !slices.Contains(out, n) && (!allowed || n.cand.MultiArch == "allowed") {
				out = append(out, n)
			}
		}
	}
	return out
}

// provides tells whether a provided name of that version satisfies a: only a versioned
// one satisfies a versioned dependency.
func provides(v string, a dependency.Alternative) bool {
	return a.Op == version.Any || v != "" && a.Op.Holds(v, a.Version)
}

// satisfied tells whether something marked satisfies the group.
func (s *solver) satisfied(g group) bool {
	for _, a := range g.Group {
		if slices.ContainsFunc(s.matching(a), func(n *node) bool { return n.marked }) {
			return true
		}
	}
	return false
}

// hit lists what a negative dependency of n excludes, never n itself.
func (s *solver) hit(n *node, g group) []*node {
	var out []*node
	for _, a := range g.Group {
		for _, o := range s.matching(a) {
			if o != n && !o.stub {
				out = append(out, o)
			}
		}
	}
	return out
}

// solutions lists what can satisfy a group in apt's order of preference.
func (s *solver) solutions(g group) []*node {
	var old, fresh []*node
	for _, a := range g.Group {
		list := s.matching(a)
		slices.SortStableFunc(list, func(x, y *node) int { return preferred(a.Name, x, y) })
		for _, n := range list {
			switch {
			case slices.Contains(old, n) || slices.Contains(fresh, n) || n.protected && !n.marked:
			case n.installed:
				old = append(old, n)
			default:
				fresh = append(fresh, n)
			}
		}
	}
	return append(old, fresh...)
}

// preferred is apt's order of providers of target (CompareProviders), without its last
// resort, the id in the cache: zero means a tie.
func preferred(target string, a, b *node) int {
	return cmp.Or(
		first(a.protected, b.protected),
		first(a.installed, b.installed),
		first(a.name == target, b.name == target),
		first(a.cand.Essential, b.cand.Essential),
		first(a.cand.Protected, b.cand.Protected),
		cmp.Compare(priority(a.cand.Priority), priority(b.cand.Priority)),
	)
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func priority(p string) int {
	i := slices.Index([]string{"", "required", "important", "standard", "optional", "extra"}, p)
	if i < 0 {
		return 5 // apt reads a word it does not know as extra
	}
	return i
}
