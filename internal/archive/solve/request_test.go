package solve

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/diag"
)

func TestExcludeDropsADependency(t *testing.T) {
	for name, c := range map[string]struct {
		archive, exclude []string
		install, want    string
	}{
		"and what only it needs": {
			[]string{"a; Depends: b, c", "b; Depends: d", "c", "d"}, []string{"b"}, "a", "a=1 c=1"},
		"not what others need as well": {
			[]string{"a; Depends: b, c", "b; Depends: d", "c; Depends: d", "d"}, []string{"b"}, "a", "a=1 c=1 d=1"},
		"of any version": {
			[]string{"a; Depends: b (>= 9)", "b"}, []string{"b"}, "a", "a=1"},
		"that no archive has": {
			[]string{"a; Depends: b"}, []string{"b"}, "a", "a=1"},
		"where it is the alternative apt would take": {
			[]string{"a; Depends: b | c, v", "b; Provides: v", "c", "d; Provides: v; Priority: extra"}, []string{"b"}, "a", "a=1"},
		"not where apt would take another": {
			[]string{"a; Depends: c | b", "b", "c"}, []string{"b"}, "a", "a=1 c=1"},
		"and its conflicts": {
			[]string{"a; Depends: b; Conflicts: b", "b; Conflicts: a"}, []string{"b"}, "a", "a=1"},
		"by a virtual name": {
			[]string{"a; Depends: v", "b; Provides: v", "c; Provides: v"}, []string{"v"}, "a", "a=1"},
	} {
		exclude := map[string]string{}
		for _, e := range c.exclude {
			exclude[e] = "not used"
		}
		r := Request{Install: strings.Fields(c.install), Exclude: exclude, Resolve: true}
		selected, err := Solve(universeOf(t, archiveOf(c.archive...)), r)
		if got := strings.Join(names(selected), " "); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
	}
	r := Request{Install: []string{"a"}, Exclude: map[string]string{"a": "x"}, Resolve: true}
	if _, err := Solve(universeOf(t, archiveOf("a")), r); diag.IDOf(err) != diag.Unresolvable {
		t.Errorf("requested and excluded: %v", err)
	}
}

func TestWithoutResolveExactlyTheListed(t *testing.T) {
	u := universeOf(t, archiveOf("a=1; Depends: nothing; Conflicts: b", "a=2", "b; Provides: v", "c"))
	selected, err := Solve(u, Request{Install: []string{"v", "a=1"}})
	want := []string{"a=1: requested", "b=1: requested"}
	if diff := cmp.Diff(want, withReasons(selected)); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if _, err := Solve(u, Request{Install: []string{"d"}}); diag.IDOf(err) != diag.Unresolvable {
		t.Errorf("unknown package: %v", err)
	}
}

func withReasons(selected []Selected) []string {
	var out []string
	for _, s := range selected {
		out = append(out, s.Name+"="+s.Version+": "+s.Reason)
	}
	return out
}

// parentOf solves a request and gives its packages as a parent's.
func parentOf(t *testing.T, u *Universe, install ...string) []Package {
	t.Helper()
	selected, err := Solve(u, Request{Install: install, Resolve: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []Package
	for _, s := range selected {
		out = append(out, s.Package)
	}
	return out
}

func TestParentsPackagesSatisfyAndStay(t *testing.T) {
	old := universeOf(t, archiveOf("libc=1", "mawk; Provides: awk, mail (= 3)", "base; Depends: libc, awk; Conflicts: rival"))
	parent := parentOf(t, old, "base")
	u := universeOf(t, archiveOf("libc=2", "mawk=2", "gawk; Provides: awk", "base=2", "a; Depends: libc, gawk | awk, mail (>= 2)",
		"new; Depends: libc (>= 2)", "either; Depends: new | a", "rival", "against; Breaks: libc (<< 2)", "ok; Depends: b", "b"))
	for install, want := range map[string]string{
		"a":      "a=1",
		"a gawk": "a=1 gawk=1",
		"base":   "",
		"ok":     "b=1 ok=1",
		"either": "a=1 either=1",
	} {
		selected, err := Solve(u, Request{Install: strings.Fields(install), Resolve: true, Installed: parent})
		if got := strings.Join(names(selected), " "); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", install, got, err, want)
		}
	}
	for install, want := range map[string]string{
		"new":     "new depends on libc (>= 2), but the parent image has libc 1 (the archives have 2 in debian trixie)\n  new is requested",
		"against": "against 1 breaks libc (<< 2), and the parent image has libc 1\n  against is requested",
		"rival":   "base 1 conflicts with rival, and rival is 1\n  rival is requested\n  the parent image has base 1",
		"base=2":  "package base=2 is requested, but the parent image has 1",
	} {
		_, err := Solve(u, Request{Install: strings.Fields(install), Resolve: true, Installed: parent})
		if diag.IDOf(err) != diag.Unresolvable || errorText(err) != want {
			t.Errorf("%s: got %v, want %s", install, err, want)
		}
		var e *diag.Error
		if ok := errors.As(err, &e); !ok || !strings.Contains(e.NextStep(), "parent") {
			t.Errorf("%s: the next step %q does not name the parent", install, e.NextStep())
		}
	}
}

func TestParentsRelationsAreLookedUp(t *testing.T) {
	u := universeOf(t, archiveOf("mawk=1; Provides: awk", "mawk=2", "gawk; Provides: awk", "a; Depends: awk"))
	bare := []Package{{Name: "mawk", Version: "1", Arch: "amd64"}} // as a lock has it
	selected, err := Solve(u, Request{Install: []string{"a"}, Resolve: true, Installed: bare})
	if got := strings.Join(names(selected), " "); err != nil || got != "a=1" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestReasonsAndWhy(t *testing.T) {
	u := universeOf(t, archiveOf("a; Depends: c, b (>= 1) | x", "b; Depends: d", "c; Depends: e", "d", "e; Pre-Depends: d"))
	selected, err := Solve(u, Request{Install: []string{"c", "a"}, Resolve: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a=1: requested", "b=1: a depends on b (>= 1) | x", "c=1: requested", "d=1: b depends on d", "e=1: c depends on e",
	}
	if diff := cmp.Diff(want, withReasons(selected)); diff != "" {
		t.Errorf("reasons (-want +got)\n%s", diff)
	}
	reasons := map[string]string{}
	for _, s := range selected {
		reasons[s.Name] = s.Reason
	}
	chain := []string{"a: requested", "b: a depends on b (>= 1) | x", "d: b depends on d"}
	if diff := cmp.Diff(chain, Why(reasons, "d")); diff != "" {
		t.Errorf("why d (-want +got)\n%s", diff)
	}
	if got := Why(reasons, "z"); got != nil {
		t.Errorf("why a package that is not there = %q", got)
	}
	if got := Why(map[string]string{"a": "b depends on a", "b": "a depends on b"}, "a"); len(got) != 2 {
		t.Errorf("a made-up circle gives %q", got)
	}
}

func TestSolveIsBounded(t *testing.T) {
	// Nine packages that need nine different ones of eight.
	var lines []string
	for i := range 9 {
		var needs []string
		for j := range 8 {
			name := "h" + string(rune('a'+i)) + string(rune('a'+j))
			needs = append(needs, name)
			lines = append(lines, name+"; Provides: slot"+string(rune('a'+j))+"; Conflicts: slot"+string(rune('a'+j)))
		}
		lines = append(lines, "p"+string(rune('a'+i))+"; Depends: "+strings.Join(needs, " | "))
	}
	u := universeOf(t, archiveOf(lines...))
	_, err := Solve(u, Request{Install: []string{"pa", "pb", "pc", "pd", "pe", "pf", "pg", "ph", "pi"}, Resolve: true})
	if diag.IDOf(err) != diag.Unresolvable {
		t.Errorf("nine in eight: %v", err)
	}
	selected, err := Solve(u, Request{Install: []string{"pa", "pb", "pc", "pd", "pe", "pf", "pg", "ph"}, Resolve: true})
	if err != nil || len(selected) != 16 {
		t.Errorf("eight in eight: %v, %v", names(selected), err)
	}
	deep := make([]string, 5000)
	for i := range deep {
		deep[i] = "d" + strings.Repeat("x", i/100) + string(rune('a'+i%26)) + "n" + strings.Repeat("y", i%100)
	}
	slices.Sort(deep)
	deep = slices.Compact(deep)
	for i := range deep[:len(deep)-1] {
		deep[i] += "; Depends: " + strings.SplitN(deep[i+1], ";", 2)[0]
	}
	first, _, _ := strings.Cut(deep[0], ";")
	if selected, err := Solve(universeOf(t, archiveOf(deep...)), Request{Install: []string{first}, Resolve: true}); err != nil || len(selected) != len(deep) {
		t.Errorf("a chain of %d: %d selected, %v", len(deep), len(selected), err)
	}
}
