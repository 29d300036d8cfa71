package diag

import (
	"strings"
	"testing"
)

func at(line, from, to int) Range {
	return Range{File: "static.forge.hcl", Start: Pos{Line: line, Column: from}, End: Pos{Line: line, Column: to}}
}

func TestWriteText(t *testing.T) {
	long := strings.Repeat("x", 300) + "HERE" + strings.Repeat("y", 300)
	tests := []struct {
		name string
		list List
		want string
	}{
		{"unknown attribute", List{{Severity: SeverityError, Summary: `unknown attribute "instal"`,
			Detail: "`packages` has no attribute \"instal\". Did you mean \"install\"?", Range: at(12, 3, 9), Source: `  instal = ["base-files"]`}},
			"error: unknown attribute \"instal\"\n" +
				"  --> static.forge.hcl:12:3\n" +
				"   |\n" +
				"12 |   instal = [\"base-files\"]\n" +
				"   |   ^^^^^^\n" +
				"   = `packages` has no attribute \"instal\". Did you mean \"install\"?\n"},
		{"id, no place, two findings", List{{ID: "FL001", Severity: SeverityWarning, Summary: "first", Detail: "A.\nB."}, {Severity: SeverityNote, Summary: "second"}},
			"warning[FL001]: first\n  = A.\n    B.\n\nnote: second\n"},
		{"tabs and wide characters keep the mark in its column", List{{Severity: SeverityError, Summary: "s", Range: at(1, 4, 6), Source: "\t日=ab"}},
			"error: s\n --> static.forge.hcl:1:4\n  |\n1 |     日=ab\n  |        ^^\n"},
		{"control characters cannot steer a terminal", List{{Severity: SeverityError, Summary: "a\x1b[2Jb", Range: Range{File: "\x1b]0;x\a.hcl"}, Detail: "\u202Edetail"}},
			"error: a\\x1b[2Jb\n --> \\x1b]0;x\\a.hcl\n  = \\u202edetail\n"},
		{"a long line is cut around the fault", List{{Severity: SeverityError, Summary: "s", Range: at(1, 301, 305), Source: long}},
			"error: s\n --> static.forge.hcl:1:301\n  |\n1 | ..." + strings.Repeat("x", 40) + "HERE" + strings.Repeat("y", 116) + "...\n  | " + strings.Repeat(" ", 43) + "^^^^\n"},
		{"a column beyond the line quotes nothing", List{{Severity: SeverityError, Summary: "s", Range: at(1, 90, 91), Source: "ab"}},
			"error: s\n --> static.forge.hcl:1:90\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := WriteText(&b, tt.list, false); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("WriteText wrote\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
}

func TestWriteTextColorsOnlyWhenAsked(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, List{{Severity: SeverityError, Summary: "s"}}, true); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[1;31merror\x1b[0m: \x1b[1ms\x1b[0m\n"; b.String() != want {
		t.Errorf("WriteText wrote %q, want %q", b.String(), want)
	}
}

func TestWriteJSONOfNothingIsAnEmptyList(t *testing.T) {
	var b strings.Builder
	if err := WriteJSON(&b, nil); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"version\": 1,\n  \"findings\": []\n}\n"; b.String() != want {
		t.Errorf("WriteJSON wrote %q, want %q", b.String(), want)
	}
}
