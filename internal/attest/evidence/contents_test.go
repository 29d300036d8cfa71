package evidence

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"forge/internal/diag"
)

func file(name, body string) entry { return entry{name, body, tar.TypeReg} }

func TestPackages(t *testing.T) {
	a, b := status("a", "1", "amd64"), status("b", "2", "all")
	tests := []struct {
		name   string
		layers [][]entry
		want   []string
	}{
		{"two layers", [][]entry{{b}, {a}}, []string{"a 1 amd64", "b 2 all"}},
		{"dotted and absolute names", [][]entry{{file("./"+a.name, a.body), file("/"+b.name, b.body)}}, []string{"a 1 amd64", "b 2 all"}},
		{"other files do not count", [][]entry{{a, file(a.name+".md5sums", "x  y\n"), file("etc/passwd", "x"), file("var/lib/dpkg/status.d/x/y", b.body)}}, []string{"a 1 amd64"}},
		{"replaced", [][]entry{{a}, {status("a", "3", "amd64")}}, []string{"a 3 amd64"}},
		{"whiteout", [][]entry{{a, b}, {file("var/lib/dpkg/status.d/.wh.a", "")}}, []string{"b 2 all"}},
		{"whiteout of a parent", [][]entry{{a, b}, {file("var/lib/.wh.dpkg", "")}}, nil},
		{"opaque directory, whatever its place", [][]entry{{a}, {b, file("var/lib/dpkg/status.d/.wh..wh..opq", "")}}, []string{"b 2 all"}},
		{"opaque root", [][]entry{{a}, {file(".wh..wh..opq", "")}}, nil},
		{"whiteout counts for lower layers only", [][]entry{{a}, {file("var/lib/dpkg/.wh.status.d", ""), b}}, []string{"b 2 all"}},
		{"one-file form", [][]entry{{a, file("var/lib/dpkg/status", "Package: c\nStatus: install ok installed\nVersion: 3\nArchitecture: amd64\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n")}},
			[]string{"a 1 amd64", "c 3 amd64"}},
		{"no packages", [][]entry{{file("etc/passwd", "x")}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, compression := range []string{"", "gzip", "zstd"} {
				var layers []Layer
				for _, l := range tt.layers {
					layers = append(layers, layer(t, compression, l...).Compressed)
				}
				ps, err := Packages(context.Background(), layers)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, p := range ps {
					got = append(got, p.String())
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%q: %s", compression, diff)
				}
			}
		})
	}
}

func TestPackagesRefuses(t *testing.T) {
	a := status("a", "1", "amd64")
	tests := []struct {
		name  string
		layer v1.Layer
		want  diag.ID
	}{
		{"records behind a link", layer(t, "gzip", entry{"var/lib/dpkg/status.d", "/tmp", tar.TypeSymlink}), diag.SBOMDiffers},
		{"parent a link", layer(t, "gzip", entry{"var", "/tmp", tar.TypeSymlink}), diag.SBOMDiffers},
		{"record a link", layer(t, "gzip", entry{a.name, "/etc/passwd", tar.TypeSymlink}), diag.SBOMDiffers},
		{"record a directory", layer(t, "gzip", entry{a.name, "", tar.TypeDir}), diag.SBOMDiffers},
		{"record without a version", layer(t, "gzip", file(a.name, "Package: a\nArchitecture: all\n")), diag.SBOMDiffers},
		{"record with a doubled field", layer(t, "gzip", file(a.name, a.body+"Version: 2\n")), diag.SBOMDiffers},
		{"huge record", layer(t, "gzip", file(a.name, strings.Repeat("x", maxStatus+1))), diag.TooLarge},
		{"not a tar", static.NewLayer(bytes.Repeat([]byte("x"), 1024), types.OCILayer), ""},
		{"cut", cut(t, layer(t, "gzip", a)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ps, err := Packages(context.Background(), []Layer{tt.layer.Compressed})
			if err == nil {
				t.Fatalf("no error, and packages %v", ps)
			}
			wantID(t, err, tt.want)
		})
	}
}

// cut gives the first half of a layer's bytes.
func cut(t *testing.T, l v1.Layer) v1.Layer {
	t.Helper()
	rc, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(data[:len(data)/2], types.OCILayer)
}

func TestBoundsHold(t *testing.T) {
	left := int64(10)
	_, err := io.Copy(io.Discard, &bound{ctx: context.Background(), r: strings.NewReader(strings.Repeat("x", 11)), left: &left})
	wantID(t, err, diag.TooLarge)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	left = 10
	if _, err := io.Copy(io.Discard, &bound{ctx: ctx, r: strings.NewReader("x"), left: &left}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}

	c := &contents{ctx: context.Background(), files: map[string][]byte{}, bytes: maxUnpacked, entries: 1, status: maxStatuses}
	wantID(t, c.layer(layer(t, "", file("a", ""), file("b", "")).Compressed), diag.TooLarge)
}

func TestDiffers(t *testing.T) {
	held := []Package{{"a", "1", "amd64"}, {"b", "2", "all"}}
	doc := func(components string) []byte {
		return fmt.Appendf(nil, `{"bomFormat":"CycloneDX","components":[%s]}`, components)
	}
	const a = `{"name":"a","version":"1","purl":"pkg:deb/debian/a@1?arch=amd64"}`
	const b = `{"name":"b","version":"2","purl":"pkg:deb/debian/b@2?arch=all"}`
	tests := []struct {
		name string
		sbom []byte
		want string
	}{
		{"equal", doc(b + "," + a), ""},
		{"other kinds do not count", doc(a + "," + b + `,{"name":"debian"},{"name":"x","version":"1","purl":"pkg:golang/x@1"}`), ""},
		{"missing", doc(a), "the SBOM does not name what the image holds: b 2 all"},
		{"extra", doc(a + "," + b + `,{"name":"c","version":"1","purl":"pkg:deb/debian/c@1?arch=all"}`), "the SBOM names what the image does not hold: c 1 all"},
		{"other architecture", doc(b + `,{"name":"a","version":"1","purl":"pkg:deb/debian/a@1?arch=arm64"}`), "a 1 amd64"},
		{"name and purl differ", doc(b + `,{"name":"a","version":"9","purl":"pkg:deb/debian/a@1?arch=amd64"}`), "package URL of another"},
		{"nested", doc(`{"name":"x","components":[` + a + `,` + b + `]}`), "components of its own"},
		{"bad purl", doc(`{"name":"x","purl":"pkg:"}`), "package URL"},
		{"another format", []byte(`{"spdxVersion":"SPDX-2.3"}`), "not a CycloneDX"},
		{"not JSON", []byte(`x`), "cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := differs(tt.sbom, held)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("differs gave %q, want %q", got, tt.want)
			}
		})
	}
}

func TestListIsShort(t *testing.T) {
	got := list(slices.Repeat([]Package{{"a", "1", "all"}}, 100))
	if !strings.HasSuffix(got, " and 90 more") {
		t.Errorf("list gave %q", got)
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"AA=="}},"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AA=="}]}}`))
	f.Add([]byte(`{"dsseEnvelope":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseBundle(data); err == nil && (s.statement.PredicateType == "" || len(s.envelope.Signatures) == 0) {
			t.Errorf("accepted %q as %+v", data, s)
		}
		if m, err := parseManifest(data); err == nil && m == nil {
			t.Error("no manifest and no error")
		}
	})
}
