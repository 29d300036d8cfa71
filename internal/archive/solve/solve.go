package solve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"forge/internal/diag"
)

// Request says what is wanted.
type Request struct {
	Install   []string          // "name" or "name=version", in any order
	Exclude   map[string]string // dependency dropped -> reason
	Resolve   bool              // false: exactly the packages listed, nothing checked between them
	Installed []Package         // the parent image's; they satisfy, and are never selected or changed
}

// Selected is a chosen package and why it was.
type Selected struct {
	Package
	Reason string // "requested", or "PARENT depends on GROUP"
}

// Solve gives the packages that a request takes, sorted by name. Errors are
// diag.Unresolvable with the chain that fails, diag.ChooseOne where apt's choice would
// be arbitrary, and diag.MalformedIndex for a package that was looked at.
func Solve(u *Universe, r Request) ([]Selected, error) {
	s, err := newSolver(u, r)
	if err != nil {
		return nil, err
	}
	if r.Resolve {
		err = s.choose()
	} else {
		for _, n := range s.requested {
			n.marked = true
		}
	}
	if err = cmp.Or(s.malformed, err); err != nil {
		return nil, err
	}
	return s.selected()
}

// choose marks the packages to take.
func (s *solver) choose() error {
	start := s.snapshot()
	s.classic(s.requested)
	if !s.consistent() {
		s.restore(start)
		return s.search()
	}
	for _, t := range s.ties {
		if t.by.marked && t.options[0].marked {
			return t.chooseOne()
		}
	}
	// apt takes the requests in the order of its cache. What it chooses must not depend
	// on that: any pair of requests comes in both orders in these two runs.
	forward := s.reasons()
	s.restore(start)
	backward := slices.Clone(s.requested)
	slices.Reverse(backward)
	s.classic(backward)
	if !s.consistent() {
		s.restore(start)
		return s.search()
	}
	return s.sameChoice(forward)
}

// sameChoice compares what is taken now with what another order of requests took.
func (s *solver) sameChoice(forward map[*node]string) error {
	backward := s.reasons()
	var differ []*node
	for _, n := range s.ordered() {
		if (forward[n] == "") != (backward[n] == "") {
			differ = append(differ, n)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	for _, n := range s.ordered() {
		if forward[n] == "" || backward[n] == "" {
			continue
		}
		for _, g := range n.cand.needs() {
			options := s.solutions(g)
			options = slices.DeleteFunc(options, func(o *node) bool { return forward[o] == "" && backward[o] == "" })
			if len(options) > 1 && slices.ContainsFunc(options, func(o *node) bool { return slices.Contains(differ, o) }) {
				return tie{by: n, group: g, options: options}.chooseOne()
			}
		}
	}
	return tie{options: differ}.chooseOne()
}

// selected lists the marked packages that a request needs, with reasons.
func (s *solver) selected() ([]Selected, error) {
	reasons := s.reasons()
	var out []Selected
	for _, n := range s.ordered() {
		reason, needed := reasons[n]
		if !needed || n.stub || n.installed {
			continue
		}
		if err := n.cand.usable(); err != nil {
			return nil, err
		}
		out = append(out, Selected{Package: *n.cand.Package, Reason: reason})
	}
	return out, nil
}

// usable refuses a package whose content the archives disagree about or do not state.
func (p *pack) usable() error {
	if p.entry == nil {
		return nil
	}
	if other := p.entry.rival; other != nil {
		return diag.Errorf(diag.Unresolvable, "Remove one of the archives, or pin another version in `install`.",
			"package %s %s (%s) has SHA-256 %s in %s but %s in %s",
			p.Name, p.Version, p.Arch, p.SHA256, p.entry.where(), other.sha256, other.where())
	}
	if p.SHA256 == "" {
		return diag.Errorf(diag.WeakAlgorithm, "", "package %s %s of %s has no SHA-256 in its index", p.Name, p.Version, p.entry.where())
	}
	return nil
}

// reasons walks from the requests through what is marked, nearest first, and so leaves
// out what only a discarded choice had needed.
func (s *solver) reasons() map[*node]string {
	out := map[*node]string{}
	var queue []*node
	reach := func(n *node, reason string) {
		if _, seen := out[n]; !seen && n.marked {
			out[n] = reason
			queue = append(queue, n)
		}
	}
	for _, n := range s.requested {
		reach(n, "requested")
	}
	for ; len(queue) > 0 && s.request.Resolve; queue = queue[1:] {
		n := queue[0]
		if n.installed {
			continue
		}
		for _, g := range n.cand.needs() {
			for _, o := range s.solutions(g) {
				reach(o, n.name+dependsOn+g.String())
			}
		}
	}
	return out
}

const dependsOn = " depends on "

// Why gives the chain from a requested package to name, the requested one first, out of
// each package's reason; nil when name has none. An entry reads
// "libssl3t64: curl depends on libssl3t64 (>= 3.5.0)".
func Why(reasons map[string]string, name string) []string {
	var chain []string
	for seen := map[string]bool{}; reasons[name] != "" && !seen[name]; {
		seen[name] = true
		chain = append(chain, name+": "+reasons[name])
		parent, _, found := strings.Cut(reasons[name], dependsOn)
		if !found {
			break
		}
		name = parent
	}
	slices.Reverse(chain)
	return chain
}

// tie is a choice between packages that only the order of apt's cache would make.
type tie struct {
	by      *node // nil for a request
	group   group
	options []*node // the one taken first
}

func (t tie) chooseOne() error {
	names := make([]string, len(t.options))
	for i, o := range t.options {
		names[i] = o.name
	}
	slices.Sort(names)
	needed := "requested"
	if t.by != nil {
		needed = "needed by " + t.by.name
	}
	verb := "each satisfies"
	if g := t.group.Group; len(g) == 1 && !slices.Contains(names, g[0].Name) {
		verb = "each provides"
	}
	return diag.Errorf(diag.ChooseOne, fmt.Sprintf("Add the one you want to `install`, for example %q.", names[0]),
		"choose one: %s (%s %s, %s)", strings.Join(names, ", "), verb, t.group, needed)
}
