package mirror_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"forge/internal/archive/mirror"
	"forge/internal/diag"
	"forge/internal/spec"
)

var apt = fstest.MapFS{
	"sources.list": {Data: []byte(`# deb http://commented.example/debian trixie main
deb-src http://source.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] http://list.example/debian/ trixie main # more
deb cdrom:[Disk]/debian trixie main
deb
`)},
	"sources.list.d/a.sources": {Data: []byte(`Types: deb
# URIs: http://commented.example/debian
URIs: http://deb822.example/debian
 https://second.example/debian-security/
Suites: trixie
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian

types: deb-src
uris: http://source.example/other
`)},
	"sources.list.d/b.save": {Data: []byte("deb http://saved.example/debian trixie main\n")},
}

func TestRoots(t *testing.T) {
	table, err := mirror.Load(mirror.Options{
		Env:    "debian=http://one.example/debian/,https://two.example/d  own=file:///srv/own",
		Config: map[string][]string{"debian": {"http://config.example/debian"}, "other": {"http://config.example/other"}},
		Apt:    apt,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		archive spec.Archive
		want    []string
	}{
		{spec.Archive{Name: "debian"}, []string{"http://one.example/debian", "https://two.example/d"}},
		{spec.Archive{Name: "debian", URL: "http://template.example/x"}, []string{"http://one.example/debian", "https://two.example/d"}},
		{spec.Archive{Name: "own"}, []string{"file:///srv/own"}},
		{spec.Archive{Name: "other"}, []string{"http://config.example/other"}},
		{spec.Archive{Name: "debian-security", URL: "http://template.example/x"}, []string{"http://template.example/x"}},
		{spec.Archive{Name: "debian-security"}, []string{"https://second.example/debian-security"}},
	} {
		got, err := table.Roots(c.archive)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Roots(%+v) = %v, %v, want %v", c.archive, got, err, c.want)
		}
	}
	if _, err := table.Roots(spec.Archive{Name: "unknown"}); diag.IDOf(err) != diag.NoMirror {
		t.Errorf("Roots of an unknown archive: %v, want NoMirror", err)
	}
}

func TestAptSources(t *testing.T) {
	table, err := mirror.Load(mirror.Options{Apt: apt})
	if err != nil {
		t.Fatal(err)
	}
	got, err := table.Roots(spec.Archive{Name: "debian"})
	if want := []string{"http://list.example/debian", "http://deb822.example/debian"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Roots(debian) = %v, %v, want %v", got, err, want)
	}
	if got, err := table.Roots(spec.Archive{Name: "other"}); err == nil {
		t.Errorf("Roots(other) = %v, want none: it is a source archive only", got)
	}
}

func TestSnapshot(t *testing.T) {
	table, err := mirror.Load(mirror.Options{Env: "debian=http://one.example/debian", Snapshot: "http://snap.example/"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := table.Roots(spec.Archive{Name: "debian", Snapshot: "20260101T000000Z"})
	if want := []string{"http://snap.example/archive/debian/20260101T000000Z"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Roots = %v, %v, want %v", got, err, want)
	}
}

func TestFaultsAreNamedWithoutSecrets(t *testing.T) {
	for _, env := range []string{
		"debian", "=http://x.example", "debian=", "debian=ftp://x.example/debian", "debian=http://u:hunter2@/debian",
		"debian=http://u:hunter2@x.example/d?a=b", "debian=file://host/x", "debian=http://u:hunter2@[::1/x",
	} {
		_, err := mirror.Load(mirror.Options{Env: env})
		if diag.IDOf(err) != diag.Usage || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Load(%q) = %v, want a Usage error without the password", env, err)
		}
	}
}

func FuzzAptSources(f *testing.F) {
	for _, file := range apt {
		f.Add(string(file.Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		table, err := mirror.Load(mirror.Options{Apt: fstest.MapFS{
			"sources.list":             {Data: []byte(text)},
			"sources.list.d/x.sources": {Data: []byte(text)},
		}})
		if err != nil {
			t.Errorf("Load: %v", err)
		}
		roots, _ := table.Roots(spec.Archive{Name: "debian"})
		for _, r := range roots {
			if strings.ContainsAny(r, " \n") || strings.HasSuffix(r, "/") {
				t.Errorf("root %q", r)
			}
		}
	})
}
