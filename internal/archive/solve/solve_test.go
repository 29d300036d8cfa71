package solve

import (
	"strings"
	"testing"

	"forge/internal/diag"
)

// archiveOf makes an index out of short lines: a package's name, optionally "=version",
// then fields after semicolons.
func archiveOf(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		head, fields, _ := strings.Cut(line, ";")
		name, version, found := strings.Cut(strings.TrimSpace(head), "=")
		if !found {
			version = "1"
		}
		b.WriteString("Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\nFilename: pool/" + name + "_" + version + ".deb\nSize: 10\nSHA256: " + strings.Repeat("0", 64) + "\n")
		for f := range strings.SplitSeq(fields, ";") {
			if f = strings.TrimSpace(f); f != "" {
				b.WriteString(f + "\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestSolveTakesWhatAptTakes(t *testing.T) {
	for name, c := range map[string]struct {
		archive []string
		install string
		want    string
	}{
		"dependencies, deep": {
			[]string{"a; Depends: b, c", "b; Pre-Depends: d", "c", "d", "e"}, "a", "a=1 b=1 c=1 d=1"},
		"a cycle": {
			[]string{"a; Depends: b", "b; Depends: a"}, "a", "a=1 b=1"},
		"the newest version": {
			[]string{"a=1.0~rc1", "a=1.0", "a=0.9"}, "a", "a=1.0"},
		"a pinned version": {
			[]string{"a=1; Depends: b", "a=2; Depends: c", "b", "c"}, "a=1", "a=1 b=1"},
		"a pinned version beside its bare name": {
			[]string{"a=1", "a=2"}, "a a=1", "a=1"},
		"the first alternative": {
			[]string{"a; Depends: b | c", "b", "c"}, "a", "a=1 b=1"},
		"an alternative that is requested": {
			[]string{"a; Depends: b | c", "b", "c"}, "a c", "a=1 c=1"},
		"an alternative that exists": {
			[]string{"a; Depends: nothing | c", "c"}, "a", "a=1 c=1"},
		"an alternative that can be installed": {
			[]string{"a; Depends: b | c", "b; Depends: nothing", "c"}, "a", "a=1 c=1"},
		"an alternative whose own dependency fails deep down": {
			[]string{"a; Depends: b | c", "b; Depends: d", "d; Depends: e", "e; Depends: nothing", "c"}, "a", "a=1 c=1"},
		"an alternative of a fitting version": {
			[]string{"a; Depends: b (>= 2) | c", "b", "c"}, "a", "a=1 c=1"},
		"earlier dependencies decide before later ones": {
			[]string{"a; Depends: p, q", "p; Depends: x | y", "q; Depends: y", "x", "y"}, "a", "a=1 p=1 q=1 x=1 y=1"},
		"Pre-Depends before Depends": {
			[]string{"a; Depends: p; Pre-Depends: q", "p; Depends: x | y", "q; Depends: y", "x", "y"}, "a", "a=1 p=1 q=1 y=1"},
		"a virtual package": {
			[]string{"a; Depends: v", "b; Provides: v"}, "a", "a=1 b=1"},
		"a real package before its providers": {
			[]string{"a; Depends: v", "b; Provides: v", "v"}, "a", "a=1 v=1"},
		"a provider that is requested": {
			[]string{"a; Depends: v", "b; Provides: v", "c; Provides: v"}, "a c", "a=1 c=1"},
		"a provider by priority": {
			[]string{"a; Depends: v", "b; Provides: v; Priority: optional", "c; Provides: v; Priority: required", "d; Provides: v; Priority: strange"}, "a", "a=1 c=1"},
		"an essential provider before priority": {
			[]string{"a; Depends: v", "b; Provides: v; Priority: required", "c; Provides: v; Priority: optional; Essential: yes"}, "a", "a=1 c=1"},
		"a protected provider before priority": {
			[]string{"a; Depends: v", "b; Provides: v; Priority: required", "c; Provides: v; Priority: optional; Protected: yes"}, "a", "a=1 c=1"},
		"the only provider that can be installed": {
			[]string{"a; Depends: v", "b; Provides: v; Priority: optional; Depends: nothing", "c; Provides: v; Priority: optional"}, "a", "a=1 c=1"},
		"a versioned provide for a versioned dependency": {
			[]string{"a; Depends: v (>= 2)", "b; Provides: v", "c; Provides: v (= 1)", "d; Provides: v (= 2)"}, "a", "a=1 d=1"},
		"a requested virtual package with one provider": {
			[]string{"b; Provides: v"}, "v", "b=1"},
		"any architecture, of a package that allows it": {
			[]string{"a; Depends: b:any", "b; Multi-Arch: allowed"}, "a", "a=1 b=1"},
		"this architecture, named": {
			[]string{"a; Depends: b:amd64, c [arm64] | d", "b", "c", "d"}, "a", "a=1 b=1 d=1"},
		"essential packages are not drawn in": {
			[]string{"a", "bash; Essential: yes"}, "a", "a=1"},
		"recommendations are not drawn in": {
			[]string{"a; Recommends: b; Suggests: b", "b"}, "a", "a=1"},
		"a provider that conflicts with its own name": {
			[]string{"a; Depends: v", "b; Provides: v; Conflicts: v"}, "a", "a=1 b=1"},
		"around a conflict with a request": {
			[]string{"a; Depends: b | c", "b; Conflicts: r", "c", "r"}, "a r", "a=1 c=1 r=1"},
		"around a break with a request": {
			[]string{"a; Depends: b | c", "b; Breaks: r (<< 2)", "c", "r"}, "a r", "a=1 c=1 r=1"},
		"a break of another version": {
			[]string{"a; Depends: b | c", "b; Breaks: r (<< 1)", "c", "r"}, "a r", "a=1 b=1 r=1"},
		"search: a request that excludes an alternative": {
			[]string{"a; Depends: b | c", "b", "c", "r; Conflicts: b"}, "a r", "a=1 c=1 r=1"},
		"the only provider that can be installed, the other later by name": {
			[]string{"a; Depends: v", "b; Provides: v; Priority: optional", "c; Provides: v; Priority: optional; Depends: nothing"}, "a", "a=1 b=1"},
		"an alternative that cannot be installed leaves nothing behind": {
			[]string{"a; Depends: b | c, v", "b; Depends: d, nothing", "c", "d; Provides: v; Priority: optional", "e; Provides: v; Priority: required"},
			"a", "a=1 c=1 e=1"},
		"an alternative that a request excludes before": {
			[]string{"a; Conflicts: x", "b; Depends: x | y", "x", "y"}, "a b", "a=1 b=1 y=1"},
		"an alternative that something needed excludes before": {
			[]string{"a; Depends: p, x | y", "p; Depends: q", "q; Conflicts: x", "x", "y"}, "a", "a=1 p=1 q=1 y=1"},
		"an alternative that something needed and there already excludes before": {
			[]string{"a; Depends: k | l, q, x | y", "k; Depends: q", "l", "q; Conflicts: x", "x", "y"}, "a", "a=1 k=1 q=1 y=1"},
		"search: back out of an earlier choice that a later one forbids": {
			[]string{"a; Depends: p, q", "p; Depends: x | y", "q; Conflicts: x", "x", "y"}, "a", "a=1 p=1 q=1 y=1"},
	} {
		u, r := universeOf(t, archiveOf(c.archive...)), Request{Install: strings.Fields(c.install), Resolve: true}
		selected, err := Solve(u, r)
		if got := strings.Join(names(selected), " "); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
		s, err := newSolver(u, r)
		if err != nil {
			t.Fatal(err)
		}
		s.classic(s.requested)
		if strings.HasPrefix(name, "search: ") == s.consistent() {
			t.Errorf("%s: apt's first pass settles it: %v", name, s.consistent())
		}
	}
}

func TestSolveExplains(t *testing.T) {
	for name, c := range map[string]struct {
		archive []string
		install string
		id      diag.ID
		want    string
	}{
		"unknown": {
			[]string{"python3"}, "pyhton3", diag.Unresolvable, `no package "pyhton3" in the archives; did you mean "python3"?`},
		"unknown, nothing near": {
			[]string{"python3"}, "apache2", diag.Unresolvable, `no package "apache2" in the archives`},
		"not a name": {
			nil, "../a", diag.Unresolvable, `"../a" is not a package name or name=version`},
		"not a version": {
			[]string{"a"}, "a=b", diag.Unresolvable, `"a=b" is not a package name or name=version`},
		"unknown version": {
			[]string{"a=2", "a=3"}, "a=1", diag.Unresolvable, "package a=1 is requested, but the archives have 3 in debian trixie, 2 in debian trixie"},
		"two versions": {
			[]string{"a=2", "a=3"}, "a=2 a=3", diag.Unresolvable, `package "a" is requested in two versions, 2 and 3`},
		"missing at the end of a chain": {
			[]string{"a; Depends: b", "b=2; Depends: libfo", "libfoo"}, "a", diag.Unresolvable,
			"b depends on libfo, but no package \"libfo\" is in the archives; did you mean \"libfoo\"?\n  a is requested\n  a depends on b"},
		"too old": {
			[]string{"a; Depends: b (>= 3)", "b=2"}, "a", diag.Unresolvable, "a depends on b (>= 3), but b has 2 in debian trixie\n  a is requested"},
		"newer is there, but an older one is pinned": {
			[]string{"a; Depends: b (>= 3)", "b=2", "b=3"}, "a b=2", diag.Unresolvable, "a depends on b (>= 3), but b=2 is requested\n  a is requested"},
		"provided without a version": {
			[]string{"a; Depends: v (>= 3)", "b; Provides: v"}, "a", diag.Unresolvable,
			"a depends on v (>= 3), but v is only provided, in no fitting version, by b\n  a is requested"},
		"not for any architecture": {
			[]string{"a; Depends: b:any", "b"}, "a", diag.Unresolvable, "a depends on b:any, but b has 1 in debian trixie\n  a is requested"},
		"requests that conflict": {
			[]string{"a", "b; Conflicts: a"}, "a b", diag.Unresolvable, "b 1 conflicts with a, and a is 1\n  b is requested\n  a is requested"},
		"dependencies that conflict": {
			[]string{"a; Depends: c", "b; Depends: d", "c=2; Breaks: v", "d=2; Provides: v"}, "a b", diag.Unresolvable,
			"c 2 breaks v, and d provides it\n  b is requested\n  b depends on d\n  a is requested\n  a depends on c"},
		"every alternative fails": {
			[]string{"a; Depends: b | c", "b; Depends: x", "c; Conflicts: a", "x; Depends: y", "y; Conflicts: a"}, "a", diag.Unresolvable,
			"y 1 conflicts with a, and a is 1\n  a is requested\n  a depends on b | c; not c: c 1 conflicts with a, and a is 1\n  b depends on x\n  x depends on y"},
		"two choices deep": {
			[]string{"a; Depends: b | c, d | e", "b; Conflicts: d, e", "c; Conflicts: d, e", "d", "e"}, "a", diag.Unresolvable,
			"a depends on b | c, and no alternative works\n  not b: a depends on d | e, and no alternative works\n    not d: b 1 conflicts with d, and d is 1\n    not e: b 1 conflicts with e, and e is 1\n  not c: "},
		"several providers": {
			[]string{"a; Depends: v", "c; Provides: v", "b; Provides: v"}, "a", diag.ChooseOne, "choose one: b, c (each provides v, needed by a)"},
		"several providers of a request": {
			[]string{"c; Provides: v", "b; Provides: v"}, "v", diag.ChooseOne, "choose one: b, c (each provides v, requested)"},
		"several providers among alternatives": {
			[]string{"a; Depends: gone | v (= 1)", "c; Provides: v (= 1)", "b; Provides: v (= 1)", "d; Provides: v"}, "a", diag.ChooseOne,
			"choose one: b, c (each satisfies gone | v (= 1), needed by a)"},
		"the order of requests would decide": {
			[]string{"a; Depends: p | q", "b; Depends: q | p", "p", "q"}, "a b", diag.ChooseOne, "choose one: p, q (each satisfies p | q, needed by a)"},
	} {
		_, err := Solve(universeOf(t, archiveOf(c.archive...)), Request{Install: strings.Fields(c.install), Resolve: true})
		if diag.IDOf(err) != c.id || !strings.HasPrefix(errorText(err), c.want) {
			t.Errorf("%s: got %s %v\nwant %s %s", name, diag.IDOf(err), err, c.id, c.want)
		}
	}
}
