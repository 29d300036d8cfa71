package dependency

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for in, want := range map[string][]Group{
		"":                          nil,
		" \n ":                      nil,
		"libc6":                     {{{Name: "libc6"}}},
		"libc6 (>= 2.39)":           {{{Name: "libc6", Op: ">=", Version: "2.39"}}},
		"libc6(>=2.39)":             {{{Name: "libc6", Op: ">=", Version: "2.39"}}},
		"python3:any (<< 4)":        {{{Name: "python3", Qualifier: "any", Op: "<<", Version: "4"}}},
		"a (> 1), b (< 2)":          {{{Name: "a", Op: ">=", Version: "1"}}, {{Name: "b", Op: "<=", Version: "2"}}},
		"a|b:amd64 ,\n c ,":         {{{Name: "a"}, {Name: "b", Qualifier: "amd64"}}, {{Name: "c"}}},
		"a (= 1:2-3) [amd64 arm64]": {{{Name: "a", Op: "=", Version: "1:2-3", Archs: []string{"amd64", "arm64"}}}},
	} {
		got, err := Parse(in)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Parse(%q): %v (-want +got)\n%s", in, err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		",", "a,,b", ",a", "a,b,,", "|", "a|", "a | | b", "a b", "a (1)", "a (>= )", "a (>= 1", "a (== 1)", "a (=> 1)", "a (>= 1) x",
		"a ()", "a [", "a []", "a [amd64", "a [am/d]", "a <!nocheck>", "a:", "a:b:c", "-a", "../a", "a/b", "é", "a (>= 1 2)", "a (= é)",
		strings.Repeat("a,", 20000), strings.Repeat("a|", 2000) + "a", strings.Repeat("n", 300),
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", clip(in), got)
		}
	}
}

func TestOnArch(t *testing.T) {
	for in, want := range map[string]bool{"a": true, "a [amd64]": true, "a [arm64 amd64]": true, "a [arm64]": false, "a [!amd64]": false, "a [!arm64]": true, "a [any]": true} {
		g, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := g[0][0].OnArch("amd64"); got != want {
			t.Errorf("%q on amd64 = %v, want %v", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("libc6 (>= 2.39), debconf (>= 0.5) | debconf-2.0, python3:any, a [amd64 !i386]")
	f.Add("a(=1)|b , c,")
	f.Add("a (> 1~) [!x]")
	f.Fuzz(func(t *testing.T, in string) {
		groups, err := Parse(in)
		if err != nil {
			return
		}
		text := Format(groups)
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%q printed as %q: %v", in, text, err)
		}
		if diff := cmp.Diff(groups, again); diff != "" {
			t.Fatalf("%q printed as %q changed:\n%s", in, text, diff)
		}
	})
}
