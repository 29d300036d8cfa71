package attest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/package-url/packageurl-go"

	"forge/internal/lock"
)

var update = flag.Bool("update", false, "write the golden files anew")

var debian = Distro{ID: "debian", Version: "13"}

const imageDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func hexOf(c string, n int) string { return strings.Repeat(c, n) }

// packages is a small image: a library, what it depends on by a virtual name, a binNMU
// of another source, and a package without anything optional.
func packages() []Package {
	return []Package{
		{
			Name: "zlib1g", Version: "1:1.3.dfsg+really1.3.1-1+b1", Arch: "amd64",
			Source: "zlib", SourceVersion: "1:1.3.dfsg+really1.3.1-1",
			SHA256: hexOf("1", 64), SHA512: hexOf("1", 128), Size: 88120,
			Maintainer: "Mark Brown <broonie@example.org>", Homepage: "https://zlib.example/",
			Description: "compression library - runtime\n zlib is a library.",
			Copyright:   []byte("Format: https://example.org/copyright-format/1.0/\n\nFiles: *\nLicense: Zlib\n"),
			Archive:     "debian", PoolPath: "pool/main/z/zlib/zlib1g_1.3.dfsg+really1.3.1-1+b1_amd64.deb",
			Depends: []string{"libc6 (>= 2.14)"},
		},
		{
			Name: "libc6", Version: "2.41-12", Arch: "amd64", Source: "glibc", SourceVersion: "2.41-12",
			SHA256: hexOf("2", 64), SHA512: hexOf("2", 128), Size: 2847328,
			Maintainer: "GNU Libc Maintainers <libc@example.org>", Homepage: "javascript:alert(1)",
			Description: "GNU C Library: Shared libraries", Archive: "debian",
			PoolPath: "pool/main/g/glibc/libc6_2.41-12_amd64.deb",
			Depends:  []string{"", "awk | base-files (>= 13), missing-config | netbase-any"},
		},
		{
			Name: "netbase", Version: "6.5", Arch: "all", Source: "netbase", SourceVersion: "6.5",
			SHA256: hexOf("3", 64), Maintainer: "Somebody", Provides: "netbase-any (= 6)",
		},
		{
			Name: "base-files", Version: "13.8", Arch: "amd64", Source: "base-files", SourceVersion: "13.8",
			SHA256: hexOf("4", 64), Depends: []string{"mawk"},
		},
	}
}

func sbomInput() SBOMInput {
	return SBOMInput{
		Name: "static", Version: "13.1.0", Platform: "linux/amd64", Digest: imageDigest,
		Created: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), Forge: "0.1.0", Vendor: "Example", Distro: debian, Packages: packages(),
	}
}

func provenanceInput() ProvenanceInput {
	return ProvenanceInput{
		Template: "static", Version: "13.1.0", Platforms: []string{"linux/arm64", "linux/amd64"},
		Variables:  map[string]string{"suite": `"trixie"`},
		SpecDigest: hexOf("a", 64), LockDigest: hexOf("b", 64), ScriptsDigest: hexOf("c", 64),
		Packages: append(packages(), packages()...), Distro: debian,
		Releases: []lock.Release{{
			Archive: "debian", Suite: "trixie", Date: "2026-11-15T09:00:00Z", AsOf: "2026-11-16",
			SHA256: hexOf("d", 64), Fingerprint: hexOf("E", 40),
		}},
		EngineKind: "embedded", EngineVersion: "v0.33.1", Forge: "0.1.0",
	}
}

// golden compares indented JSON with a file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	b.WriteByte('\n')
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got), run with -update if meant:\n%s", file, diff)
	}
}

func TestSBOM(t *testing.T) {
	got, err := SBOM(sbomInput())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "sbom.json", got)

	in := sbomInput()
	slices.Reverse(in.Packages)
	in.Created = in.Created.In(time.FixedZone("elsewhere", 3600))
	again, err := SBOM(in)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, again) {
		t.Error("order of packages and time zone change the SBOM")
	}
	if bytes.ContainsRune(got, '\n') {
		t.Error("the SBOM is not on one line, so a statement would not keep its bytes")
	}
}

func TestSBOMSerialNumberFollowsContent(t *testing.T) {
	serial := func(change func(*SBOMInput)) string {
		in := sbomInput()
		change(&in)
		data, err := SBOM(in)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ SerialNumber string }
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		return doc.SerialNumber
	}
	first := serial(func(*SBOMInput) {})
	for name, change := range map[string]func(*SBOMInput){
		"digest":  func(in *SBOMInput) { in.Digest = "sha256:" + hexOf("b", 64) },
		"forge":   func(in *SBOMInput) { in.Forge = "0.2.0" },
		"package": func(in *SBOMInput) { in.Packages[0].Description = "other" },
	} {
		if serial(change) == first {
			t.Errorf("another %s gives the same serial number", name)
		}
	}
}

func TestPURLIsReadBack(t *testing.T) {
	for _, p := range packages() {
		purl := p.purl(debian)
		got, err := packageurl.FromString(purl)
		if err != nil {
			t.Fatalf("%s: %v", purl, err)
		}
		if got.Name != p.Name || got.Version != p.Version || got.Qualifiers.Map()["arch"] != p.Arch {
			t.Errorf("%s reads as %+v", purl, got)
		}
		if up := got.Qualifiers.Map()["upstream"]; up != "" && up != p.Source+"@"+p.SourceVersion {
			t.Errorf("%s has upstream %q", purl, up)
		}
	}
}

func TestSBOMRefusesWhatItCannotName(t *testing.T) {
	for name, change := range map[string]func(*SBOMInput){
		"no version":  func(in *SBOMInput) { in.Packages[1].Version = "" },
		"no source":   func(in *SBOMInput) { in.Packages[1].Source = "" },
		"bad digest":  func(in *SBOMInput) { in.Digest = "sha256:xyz" },
		"no platform": func(in *SBOMInput) { in.Platform = "amd64" },
	} {
		in := sbomInput()
		change(&in)
		if _, err := SBOM(in); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestProvenance(t *testing.T) {
	got, err := Provenance(provenanceInput())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "provenance.json", got)
	for _, word := range []string{"SLSA_", "slsaLevel", "startedOn", "http"} {
		if bytes.Contains(got, []byte(word)) {
			t.Errorf("provenance contains %q", word)
		}
	}
}

func TestProvenanceNeedsEveryDigest(t *testing.T) {
	for name, change := range map[string]func(*ProvenanceInput){
		"spec":    func(in *ProvenanceInput) { in.SpecDigest = "" },
		"lock":    func(in *ProvenanceInput) { in.LockDigest = "sha256:" + in.LockDigest },
		"scripts": func(in *ProvenanceInput) { in.ScriptsDigest = "no" },
		"package": func(in *ProvenanceInput) { in.Packages[0].SHA256 = "" },
		"release": func(in *ProvenanceInput) { in.Releases[0].SHA256 = "" },
	} {
		in := provenanceInput()
		change(&in)
		if _, err := Provenance(in); err == nil {
			t.Errorf("%s without digest: no error", name)
		}
	}
}

func TestDecodeStrict(t *testing.T) {
	tests := []struct {
		name, json string
		ok         bool
	}{
		{"plain", `{"a":[1,{"b":null}],"c":{}}`, true},
		{"same key in two objects", `[{"a":1},{"a":2}]`, true},
		{"doubled", `{"a":1,"a":1}`, false},
		{"doubled by escape", `{"a":1,"\u0061":2}`, false},
		{"doubled by case", `{"payload":1,"Payload":2}`, false},
		{"doubled inside", `{"x":[{"a":1,"b":2,"a":3}]}`, false},
		{"two values", `{} {}`, false},
		{"rest", `{}x`, false},
		{"cut", `{"a":[1`, false},
		{"nothing", ``, false},
		{"deep", strings.Repeat("[", 100) + strings.Repeat("]", 100), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v any
			if err := DecodeStrict([]byte(tt.json), &v); (err == nil) != tt.ok {
				t.Errorf("DecodeStrict(%s) = %v", tt.json, err)
			}
		})
	}
}

func TestStatement(t *testing.T) {
	data, err := NewStatement("static", imageDigest, TypeProvenance, []byte(`{"a":"<&>"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"static","digest":{"sha256":"` + hexOf("a", 64) +
		`"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{"a":"<&>"}}`
	if string(data) != want {
		t.Errorf("statement is\n%s, want\n%s", data, want)
	}
	s, err := ParseStatement(data)
	if err != nil {
		t.Fatal(err)
	}
	if !s.About(imageDigest) || s.About("sha256:"+hexOf("b", 64)) || s.About("nonsense") {
		t.Error("About does not tell the subject")
	}
	s.Subject = append(s.Subject, s.Subject[0])
	if s.About(imageDigest) {
		t.Error("a statement about two things counts as about one")
	}
}

func TestParseStatementFailsClosed(t *testing.T) {
	for name, data := range map[string]string{
		"not JSON":       `x`,
		"null":           `null`,
		"old version":    `{"_type":"https://in-toto.io/Statement/v0.1","subject":[{}],"predicateType":"x"}`,
		"no subject":     `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x"}`,
		"no predicate":   `{"_type":"https://in-toto.io/Statement/v1","subject":[{}]}`,
		"doubled":        `{"_type":"https://in-toto.io/Statement/v1","subject":[{}],"predicateType":"x","predicateType":"y"}`,
		"digest a list":  `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":[]}],"predicateType":"x"}`,
		"subject a text": `{"_type":"https://in-toto.io/Statement/v1","subject":"x","predicateType":"x"}`,
	} {
		if _, err := ParseStatement([]byte(data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParseEnvelope(f *testing.F) {
	statement, err := SignatureStatement(imageDigest)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := NewEnvelope(statement, []byte("sig")).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`))
	f.Add([]byte(`{"payloadType":"x","payload":"e30=","signatures":[{"sig":"!"}],"payload":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data)
		if err != nil {
			return
		}
		payload, sigs, err := e.Raw()
		if err != nil || len(sigs) == 0 {
			t.Fatalf("a parsed envelope has no raw form: %v", err)
		}
		back, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseEnvelope(back)
		if err != nil || !cmp.Equal(e, again) {
			t.Fatalf("write and read gave %+v, %v, want %+v", again, err, e)
		}
		if s, err := ParseStatement(payload); err == nil && s.PredicateType == "" {
			t.Error("a statement without predicate type was accepted")
		}
	})
}
