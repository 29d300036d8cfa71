package control

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readAll(in string, keep ...string) ([]Stanza, error) {
	var all []Stanza
	r := NewReader(strings.NewReader(in), keep...)
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
}

func TestNextReadsStanzas(t *testing.T) {
	in := "\n\nPackage: a\nDescription:  short \n long\n .\n\tmore: x\nempty:\n\n\n\nPackage:b"
	want := []Stanza{
		{Line: 3, Fields: []Field{{"Package", "a"}, {"Description", "short\n long\n .\n\tmore: x"}, {"empty", ""}}},
		{Line: 12, Fields: []Field{{"Package", "b"}}},
	}
	got, err := readAll(in)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("err %v, (-want +got)\n%s", err, diff)
	}
	if v := got[0].Get("PACKAGE"); v != "a" {
		t.Errorf("Get ignores case: got %q", v)
	}
}

func TestNextKeepsOnlyNamedFields(t *testing.T) {
	got, err := readAll("Package: a\nTag: x,\n y\nVERSION: 1\n\nOther: z\n", "Package", "Version")
	want := []Stanza{
		{Line: 1, Fields: []Field{{"Package", "a"}, {"VERSION", "1"}}},
		{Line: 6, Fields: []Field{}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("err %v, (-want +got)\n%s", err, diff)
	}
}

func TestNextRefusesWithTheLine(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"twice":                  {"A: 1\nB: 2\na: 3\n", `line 3: field "a" twice`},
		"twice, neither kept":    {"X: 1\nX: 2\n", `line 2: field "X" twice`},
		"no colon":               {"A: 1\n\nnonsense\n", "line 3: not a field"},
		"no name":                {": 1\n", "line 1: not a field"},
		"blank name":             {"A b: 1\n", "line 1: field name"},
		"comment":                {"#A: 1\n", "line 1: field name"},
		"armour":                 {"-A: 1\n", "line 1: field name"},
		"leading continuation":   {" a\n", "line 1: continues no field"},
		"blank line in value":    {"A: 1\n \t\n", "line 2: only blanks"},
		"carriage return":        {"A: 1\r\n", "line 1: control character 0xd"},
		"NUL in continuation":    {"A: 1\n b\x00\n", "line 2: control character 0x0"},
		"line too long":          {"A: " + strings.Repeat("x", MaxLine), "line 1: longer than"},
		"stanza too long":        {"A:\n" + strings.Repeat(" "+strings.Repeat("x", MaxLine/2)+"\n", 33), "line 33: stanza longer than"},
		"too many fields":        {manyFields(MaxFields + 1), "line 257: more than 256 fields"},
		"second stanza is wrong": {"A: 1\n\nB: 1\nB: 2\n", "line 4: field"},
	} {
		_, err := readAll(c.in, "A")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "F%d: x\n", i)
	}
	return b.String()
}

func TestParseWantsOneStanza(t *testing.T) {
	for in, ok := range map[string]bool{"A: 1\n": true, "\nA: 1\n\n": true, "": false, "A: 1\n\nB: 2\n": false, "A: 1\n\nB": false} {
		s, err := Parse(strings.NewReader(in))
		if (err == nil) != ok || ok && s.Get("A") != "1" {
			t.Errorf("Parse(%q) = %v, %v", in, s, err)
		}
	}
}

func TestNextGivesTheReadersFault(t *testing.T) {
	boom := errors.New("boom")
	r := NewReader(io.MultiReader(strings.NewReader("A: 1\nB"), failing{boom}))
	if _, err := r.Next(); !errors.Is(err, boom) {
		t.Errorf("error %v, want the reader's", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// What is read can be written and read again, and keeping fields gives a subset.
func FuzzNext(f *testing.F) {
	f.Add("Package: a\nVersion: 1\n\nPackage: b\nDepends: c,\n d\n")
	f.Add("A: \n b\n\n\n\nC:x")
	f.Add("A: 1\nA: 2\n")
	f.Add("\n\n \n")
	f.Fuzz(func(t *testing.T, in string) {
		all, err := readAll(in)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, s := range all {
			for _, f := range s.Fields {
				fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
			}
			b.WriteString("\n")
		}
		again, err := readAll(b.String())
		if err != nil || len(again) != len(all) {
			t.Fatalf("%q written as %q reads as %d stanzas, %v", in, b.String(), len(again), err)
		}
		for i := range all {
			if diff := cmp.Diff(all[i].Fields, again[i].Fields); diff != "" {
				t.Fatalf("stanza %d changed:\n%s", i, diff)
			}
		}
		some, err := readAll(in, "Package")
		if err != nil || len(some) != len(all) {
			t.Fatalf("keeping one field: %d stanzas of %d, %v", len(some), len(all), err)
		}
	})
}
