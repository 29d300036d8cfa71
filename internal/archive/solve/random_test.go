package solve

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"forge/internal/debian/dependency"
	"forge/internal/diag"
)

func randomRequest(rng *rand.Rand) []string {
	var out []string
	for range 1 + rng.IntN(3) {
		out = append(out, fmt.Sprintf("p%d", rng.IntN(10)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// randomArchive makes a small archive of real and virtual packages with alternatives,
// versions and conflicts.
func randomArchive(rng *rand.Rand) string {
	relation := func() string {
		name := fmt.Sprintf("p%d", rng.IntN(10))
		if rng.IntN(4) == 0 {
			name = fmt.Sprintf("v%d", rng.IntN(3))
		}
		if rng.IntN(6) == 0 {
			name += fmt.Sprintf(" (%s %d)", []string{">=", ">=", "<<", "="}[rng.IntN(4)], 1+rng.IntN(3))
		}
		return name
	}
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, "Package: p%d\nVersion: %d\nArchitecture: all\nMaintainer: x\nDescription: x\n", i, 1+rng.IntN(3))
		fmt.Fprintf(&b, "Priority: %s\nFilename: p%d.deb\nSize: 1\nSHA256: %064d\n", []string{"optional", "required", "standard"}[rng.IntN(3)], i, i)
		var depends []string
		for range rng.IntN(3) {
			group := []string{relation()}
			for rng.IntN(3) == 0 {
				group = append(group, relation())
			}
			depends = append(depends, strings.Join(group, " | "))
		}
		if len(depends) > 0 {
			fmt.Fprintf(&b, "Depends: %s\n", strings.Join(depends, ", "))
		}
		if rng.IntN(4) == 0 {
			fmt.Fprintf(&b, "%s: %s\n", []string{"Conflicts", "Breaks"}[rng.IntN(2)], relation())
		}
		if rng.IntN(3) == 0 {
			fmt.Fprintf(&b, "Provides: v%d%s\n", rng.IntN(3), []string{"", " (= 2)"}[rng.IntN(2)])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func universeOf(t *testing.T, text string) *Universe {
	t.Helper()
	u := NewUniverse("amd64")
	if err := u.Add(Index{"debian", "trixie", "main", false}, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return u
}

// checkValid fails the test when the selection leaves a request or dependency unmet or
// has a conflict. It shares nothing with the solver but the parsed relations.
func checkValid(t *testing.T, r Request, selected []Selected) {
	t.Helper()
	if text := invalid(r, selected); text != "" {
		t.Errorf("request %v gives %v: %s", r.Install, names(selected), text)
	}
}

func invalid(r Request, selected []Selected) string {
	all := slices.Clone(r.Installed)
	for _, s := range selected {
		all = append(all, s.Package)
	}
	for _, name := range r.Install {
		if !slices.ContainsFunc(all, func(p Package) bool { return p.Name == name }) {
			return name + " is not there"
		}
	}
	for i, p := range all {
		for _, g := range slices.Concat(p.PreDepends, p.Depends) {
			if !slices.ContainsFunc(g, func(a dependency.Alternative) bool { return len(fitting(all, a, "")) > 0 }) {
				return p.Name + " needs " + g.String()
			}
		}
		for _, g := range slices.Concat(p.Conflicts, p.Breaks) {
			if bad := fitting(all, g[0], all[i].Name); len(bad) > 0 {
				return p.Name + " excludes " + g.String() + ", but there is " + bad[0]
			}
		}
	}
	return ""
}

// fitting lists the packages that satisfy an alternative, but for the one named except.
func fitting(all []Package, a dependency.Alternative, except string) []string {
	var out []string
	for _, p := range all {
		fits := p.Name == a.Name && a.Op.Holds(p.Version, a.Version)
		for _, v := range p.Provides {
			fits = fits || v[0].Name == a.Name && (a.Op == "" || v[0].Version != "" && a.Op.Holds(v[0].Version, a.Version))
		}
		if fits && p.Name != except {
			out = append(out, p.Name)
		}
	}
	return out
}

// The search is complete: what is refused has no solution among all sets of packages,
// what is given is valid and does not depend on the order of the request.
func TestRandomArchivesAgainstAllSets(t *testing.T) {
	count := map[diag.ID]int{}
	for seed := range 100 {
		rng := rand.New(rand.NewPCG(uint64(seed), 11))
		u := universeOf(t, randomArchive(rng))
		all := everything(t, u)
		for range 4 {
			r := Request{Install: randomRequest(rng), Resolve: true}
			selected, err := Solve(u, r)
			count[diag.IDOf(err)]++
			switch diag.IDOf(err) {
			case "":
				checkValid(t, r, selected)
			case diag.Unresolvable:
				if set := solution(all, r); set != nil {
					t.Errorf("seed %d request %v: %v\nbut %v works", seed, r.Install, err, names(set))
				}
			}
			slices.Reverse(r.Install)
			again, errAgain := Solve(u, r)
			if !slices.Equal(names(selected), names(again)) || errorText(err) != errorText(errAgain) {
				t.Errorf("seed %d request %v depends on its order", seed, r.Install)
			}
		}
	}
	if count[""] < 50 || count[diag.Unresolvable] < 50 || count[diag.ChooseOne] < 3 {
		t.Errorf("the archives are too much alike: %v", count)
	}
}

func everything(t *testing.T, u *Universe) []Selected {
	t.Helper()
	var out []Selected
	for _, name := range slices.Sorted(maps.Keys(u.names)) {
		p, err := u.names[name][0].parse()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Selected{Package: *p})
	}
	return out
}

// solution tries every set of packages.
func solution(all []Selected, r Request) []Selected {
	for bits := range 1 << len(all) {
		var set []Selected
		for i, s := range all {
			if bits>>i&1 == 1 {
				set = append(set, s)
			}
		}
		if invalid(r, set) == "" {
			return set
		}
	}
	return nil
}
