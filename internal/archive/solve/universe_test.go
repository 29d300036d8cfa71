package solve

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/debian/dependency"
	"forge/internal/diag"
)

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func add(t *testing.T, u *Universe, index Index, text string) {
	t.Helper()
	if err := u.Add(index, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func TestPackageHasWhatItsStanzaSays(t *testing.T) {
	u := NewUniverse("arm64")
	add(t, u, Index{Archive: "corp", Suite: "stable", Component: "main"}, `Package: a
Source: src (1.0-1)
Version: 1.0-1+b1
Architecture: all
Maintainer: not kept
Pre-Depends: p (>= 1)
Depends: d | e,
 f
Conflicts: c
Breaks: b (<< 1)
Provides: v (= 2)
Replaces: r
Essential: yes
Important: yes
Priority: required
Multi-Arch: foreign
filename: pool/a_1.deb
SIZE: 7
SHA256: `+strings.ToUpper(strings.Repeat("ab", 32))+"\n")
	selected, err := Solve(u, Request{Install: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	groups := func(text string) []dependency.Group {
		g, err := dependency.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	want := Package{
		Name: "a", Version: "1.0-1+b1", Arch: "all", Source: "src", SourceVersion: "1.0-1", Archive: "corp", Suite: "stable", Component: "main",
		Path: "pool/a_1.deb", SHA256: strings.Repeat("ab", 32), Size: 7, PreDepends: groups("p (>= 1)"), Depends: groups("d | e, f"),
		Conflicts: groups("c"), Breaks: groups("b (<< 1)"), Provides: groups("v (= 2)"), Replaces: groups("r"),
		Essential: true, Protected: true, Priority: "required", MultiArch: "foreign",
	}
	if diff := cmp.Diff(want, selected[0].Package); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCandidateOverSeveralIndexes(t *testing.T) {
	u := NewUniverse("amd64")
	add(t, u, Index{"debian", "trixie", "main", false}, archiveOf("a=1", "b=1", "c=1"))
	add(t, u, Index{"debian-security", "trixie-security", "main", false}, archiveOf("a=1+deb13u1", "b=1"))
	add(t, u, Index{"debian", "trixie-backports", "main", true}, archiveOf("a=2", "d=2; Provides: v"))
	selected, err := Solve(u, Request{Install: []string{"a", "b", "c", "d", "v"}})
	var got []string
	for _, s := range selected {
		got = append(got, s.Name+"="+s.Version+" "+s.Suite)
	}
	want := []string{"a=1+deb13u1 trixie-security", "b=1 trixie", "c=1 trixie", "d=2 trixie-backports"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestArchivesThatDisagree(t *testing.T) {
	u := NewUniverse("amd64")
	other := strings.ReplaceAll(archiveOf("a", "b"), zeros, strings.Repeat("1", 64))
	add(t, u, Index{"debian", "trixie", "main", false}, archiveOf("a", "b=2", "c"))
	add(t, u, Index{"corp", "stable", "main", false}, other)
	want := "package a 1 (amd64) has SHA-256 " + zeros + " in debian trixie but " + strings.Repeat("1", 64) + " in corp stable"
	if _, err := Solve(u, Request{Install: []string{"a"}}); diag.IDOf(err) != diag.Unresolvable || errorText(err) != want {
		t.Errorf("got %v", err)
	}
	if _, err := Solve(u, Request{Install: []string{"b", "c"}}); err != nil {
		t.Errorf("a disagreement about a package not taken stops: %v", err)
	}
}

func TestPackageWithoutStrongHashIsRefusedWhenTaken(t *testing.T) {
	u := universeOf(t, strings.ReplaceAll(archiveOf("a"), "SHA256: "+zeros, "MD5sum: x")+archiveOf("b"))
	if _, err := Solve(u, Request{Install: []string{"a"}}); diag.IDOf(err) != diag.WeakAlgorithm {
		t.Errorf("got %v", err)
	}
	if _, err := Solve(u, Request{Install: []string{"b"}}); err != nil {
		t.Errorf("another package: %v", err)
	}
}

func TestMalformedIndexes(t *testing.T) {
	good := archiveOf("a")
	for name, c := range map[string]struct{ old, new, want string }{
		"no package":         {"Package: a\n", "", `line 8: "" is not a package name`},
		"package twice":      {"Version: 1\n", "Version: 1\nversion: 1\n", `line 10: field "version" twice`},
		"name with a slash":  {"Package: a", "Package: ../a", `"../a" is not a package name`},
		"no version":         {"Version: 1\n", "", "upstream version"},
		"version with slash": {"Version: 1", "Version: 1/2", "not allowed"},
		"other architecture": {"amd64", "arm64", `architecture "arm64" in an index for amd64`},
		"no architecture":    {"Architecture: amd64\n", "", `architecture "" in an index`},
		"provides":           {"Size: 10", "Size: 10\nProvides: /", "Provides"},
		// The rest is read when the package is looked at.
		"depends":        {"Size: 10", "Size: 10\nDepends: a (1)", "Depends"},
		"source":         {"Size: 10", "Size: 10\nSource: a (", "source"},
		"source version": {"Size: 10", "Size: 10\nSource: a (x)", "version"},
		"no size":        {"Size: 10\n", "", "size"},
		"negative size":  {"Size: 10", "Size: -10", "size"},
		"huge size":      {"Size: 10", "Size: 99999999999999999999", "size"},
		"bad hash":       {"SHA256: 0", "SHA256: x", "SHA256"},
		"short hash":     {"SHA256: 0", "SHA256: ", "SHA256"},
		"no path":        {"Filename: pool/a_1.deb\n", "", "file name"},
		"path upwards":   {"pool/a_1.deb", "../a.deb", "file name"},
		"path through":   {"pool/a_1.deb", "pool/../../a.deb", "file name"},
		"absolute path":  {"pool/a_1.deb", "/a.deb", "file name"},
		"encoded path":   {"pool/a_1.deb", "pool/%2E%2e/a.deb", "file name"},
		"backslash path": {"pool/a_1.deb", `pool\..\a.deb`, "file name"},
		"other host":     {"pool/a_1.deb", "http://mirror.example/a.deb", "file name"},
		"query":          {"pool/a_1.deb", "pool/a.deb?x", "file name"},
		"path in two":    {"pool/a_1.deb", "pool\n /a.deb", "file name"},
	} {
		u := NewUniverse("amd64")
		err := u.Add(Index{"debian", "trixie", "main", false}, strings.NewReader(archiveOf("z")+strings.Replace(good, c.old, c.new, 1)))
		if err == nil {
			_, err = Solve(u, Request{Install: []string{"a"}, Resolve: true})
		}
		if diag.IDOf(err) != diag.MalformedIndex || !strings.Contains(errorText(err), c.want) || !strings.Contains(errorText(err), "debian trixie") {
			t.Errorf("%s: got %s %v, want %q", name, diag.IDOf(err), err, c.want)
		}
	}
}

func TestAddKeepsTheReadersFault(t *testing.T) {
	broken := diag.Errorf(diag.HashMismatch, "", "the index is not what was signed")
	err := NewUniverse("amd64").Add(Index{"debian", "trixie", "main", false}, io.MultiReader(strings.NewReader("Package: a\n"), failing{broken}))
	if diag.IDOf(err) != diag.HashMismatch || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Whatever an index and a request say, there is an answer in bounded time, valid and
// the same when asked again.
func FuzzSolve(f *testing.F) {
	f.Add(archiveOf("a; Depends: b | v", "b; Conflicts: a", "c; Provides: v (= 1)"), "a")
	f.Add(archiveOf("a; Depends: v, w", "b; Provides: v", "c; Provides: v, w; Breaks: b (>= 1)"), "a c")
	f.Add(archiveOf("a=1; Pre-Depends: a", "a=2; Conflicts: a"), "a=1")
	f.Fuzz(func(t *testing.T, text, install string) {
		u := NewUniverse("amd64")
		if err := u.Add(Index{"debian", "trixie", "main", false}, strings.NewReader(text)); err != nil {
			if diag.IDOf(err) != diag.MalformedIndex {
				t.Fatalf("reading gives %v", err)
			}
			return
		}
		r := Request{Install: strings.Fields(install), Resolve: true}
		selected, err := Solve(u, r)
		if err != nil && diag.IDOf(err) == "" {
			t.Fatalf("an error without an id: %v", err)
		}
		again, errAgain := Solve(u, r)
		if diff := cmp.Diff(selected, again); diff != "" || errorText(err) != errorText(errAgain) {
			t.Fatalf("another answer: %s%v, %v", diff, err, errAgain)
		}
	})
}
