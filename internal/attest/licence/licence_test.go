package licence

import (
	"strings"
	"testing"
)

// dep5 makes a copyright file in format 1.0 with one Files stanza a licence.
func dep5(licences ...string) string {
	var b strings.Builder
	b.WriteString("Format: https://example.org/copyright-format/1.0/\nSource: somewhere\n\n")
	for _, l := range licences {
		b.WriteString("Files:\n *\nCopyright: 2020 A. Person\nLicense: " + l + "\n Some text.\n .\n License: not a field\n\n")
	}
	return b.String()
}

func TestExpression(t *testing.T) {
	tests := []struct{ name, copyright, want string }{
		{"empty", " \n", ""},
		{"SPDX id in any case", dep5("zLib"), "Zlib"},
		{"Expat is MIT", dep5("Expat"), "MIT"},
		{"GNU with a plus", dep5("GPL-2+"), "GPL-2.0-or-later"},
		{"GNU without", dep5("LGPL-2.1"), "LGPL-2.1-only"},
		{"GNU old style", dep5("LGPLv3+"), "LGPL-3.0-or-later"},
		{"GNU without a version is not guessed", dep5("GPL"), "LicenseRef-pkg-GPL"},
		{"no invariant sections", dep5("GFDL-NIV-1.3+"), "GFDL-1.3-no-invariants-or-later"},
		{"choice, in order", dep5("GPL-1+ or Artistic", "Artistic or GPL-1+"), "Artistic-1.0-Perl OR GPL-1.0-or-later"},
		{"several are joined", dep5("MPL-2.0", "GPL-2 or MIT", "MPL-2.0"), "(GPL-2.0-only OR MIT) AND MPL-2.0"},
		{"and binds tighter than or", dep5("MIT or ISC and Zlib"), "ISC AND Zlib OR MIT"},
		{"comma binds loosest", dep5("GPL-1+ or Artistic, and Expat"), "(Artistic-1.0-Perl OR GPL-1.0-or-later) AND MIT"},
		{"comma or", dep5("ISC and Zlib, or Expat"), "ISC AND Zlib OR MIT"},
		{"mixed commas are not guessed", dep5("A, or B, and C"), "LicenseRef-pkg-A-or-B-and-C"},
		{"exception", dep5("GPL-3+ with Autoconf exception"), "GPL-3.0-or-later WITH Autoconf-exception-3.0"},
		{"unknown exception", dep5("GPL-2+ with Texinfo exception"), "LicenseRef-pkg-GPL-2-or-later-with-Texinfo-exception"},
		{"public domain is no licence of SPDX", dep5("public-domain"), "LicenseRef-pkg-public-domain"},
		{"no short name", dep5(""), "LicenseRef-pkg-unnamed"},
		{"standalone stanzas only hold texts", dep5("MIT") + "License: GPL-2\n text\n", "MIT"},
		{"noise between stanzas", dep5("MIT") + "### note ###\n\n" + "Files: x\nLicense: ISC\n", "ISC AND MIT"},
		{"free text", "This is free.\n", "LicenseRef-pkg-copyright"},
		{"free text with a common licence", "See /usr/share/common-licenses/GPL-2.\n", "GPL-2.0-only AND LicenseRef-pkg-copyright"},
		{"free text, later versions", "any later\n version; /usr/share/common-licenses/LGPL-2.1", "LGPL-2.1-or-later AND LicenseRef-pkg-copyright"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Expression("pkg", []byte(tt.copyright)); got != tt.want {
				t.Errorf("Expression gave %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"", dep5("GPL-2+ or MIT"), dep5("A, or B, and C with D exception"), "Format: x\n\nFiles\nLicense", "common-licenses/GPL-3"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := Expression("pkg", data)
		if strings.Count(got, "(") != strings.Count(got, ")") {
			t.Errorf("unbalanced: %q", got)
		}
		for _, r := range got {
			ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" ().-", r)
			if !ok {
				t.Fatalf("%q has %q, which SPDX does not allow", got, r)
			}
		}
		if got != Expression("pkg", data) {
			t.Error("two runs differ")
		}
	})
}
