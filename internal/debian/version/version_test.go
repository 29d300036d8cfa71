package version

import (
	"cmp"
	"strings"
	"testing"
)

func TestCompareOrdersAsDpkg(t *testing.T) {
	// Each version is older than the next.
	ordered := []string{
		"~", "0~~", "0~", "0", "0a", "0+", "0.5", "1.0~~", "1.0~~a", "1.0~", "1.0~rc1-1", "1.0",
		"1.0-0.1", "1.0-1~bpo12+1", "1.0-1", "1.0-1+b1", "1.0-1+deb13u1", "1.0-1.1", "1.0-2", "1.0-10",
		"1.0a", "1.0b", "1.0+", "1.0+dfsg", "1.0.1", "1.9", "1.10", "99999999999999999999", "100000000000000000000",
		"0:100000000000000000001", "1:0~", "1:0", "2:0", "10:0",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := sign(Compare(a, b)), cmp.Compare(i, j); got != want {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestCompareHoldsForEqual(t *testing.T) {
	equal := [][]string{
		{"1.0", "1.0-0", "0:1.0", "1.00", "1.0-", "0:1.0-0", "00:1.0"},
		{"1.2.3", "1.02.003"},
		{"0", "", "0:", "-0", "0-0"},
		{"a", "a0", "a-0"},
	}
	for _, set := range equal {
		for _, a := range set {
			for _, b := range set {
				if got := Compare(a, b); got != 0 {
					t.Errorf("Compare(%q, %q) = %d, want 0", a, b, got)
				}
			}
		}
	}
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		have string
		op   Op
		want string
		ok   bool
	}{
		{"1", Any, "", true},
		{"1", Earlier, "1", false}, {"1", Earlier, "2", true},
		{"1", AtMost, "1", true}, {"2", AtMost, "1", false},
		{"1", Exactly, "1-0", true}, {"1", Exactly, "1-1", false},
		{"1", AtLeast, "1", true}, {"1~", AtLeast, "1", false},
		{"1", Later, "1", false}, {"1-1", Later, "1", true},
	} {
		if got := c.op.Holds(c.have, c.want); got != c.ok {
			t.Errorf("%q %s %q = %v, want %v", c.have, c.op, c.want, got, c.ok)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, v := range []string{"0", "1.0-1", "1:1.0:2-1", "2147483647:1", "2025.1+dfsg-1~bpo1+b2", "1-2-3"} {
		if err := Validate(v); err != nil {
			t.Errorf("Validate(%q) = %v", v, err)
		}
	}
	for _, v := range []string{"", "a1", ":1", "x:1", "1:", "1-", "-1", "1_2", "1 2", "1/2", "../1", "1\n", "2147483648:1", "99999999999:1", "1é", "1" + strings.Repeat("0", 512)} {
		if Validate(v) == nil {
			t.Errorf("Validate(%q) accepts it", v)
		}
	}
}

func FuzzCompareIsATotalOrder(f *testing.F) {
	f.Add("1.0-1", "1.0-1+b1", "1:0~rc1")
	f.Add("a:1", "1:", "-")
	f.Add("~", "0~", "")
	f.Add("1.0é", "00000001", "18446744073709551616")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba := sign(Compare(a, b)), sign(Compare(b, a))
		if ab != -ba {
			t.Fatalf("Compare(%q, %q) = %d but the reverse gives %d", a, b, ab, ba)
		}
		if Compare(a, a) != 0 {
			t.Fatalf("%q differs from itself", a)
		}
		bc, ac := sign(Compare(b, c)), sign(Compare(a, c))
		if ab <= 0 && bc <= 0 && ac > 0 || ab == 0 && bc == 0 && ac != 0 || ab == 0 && ac != bc {
			t.Fatalf("%q ? %q = %d, %q ? %q = %d, but %q ? %q = %d", a, b, ab, b, c, bc, a, c, ac)
		}
	})
}

func sign(n int) int { return cmp.Compare(n, 0) }
