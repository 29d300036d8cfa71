package lock

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"forge/internal/diag"
	"forge/internal/spec"
)

func sample() *File {
	hash := strings.Repeat("ab", 32)
	return &File{
		Version: FormatVersion, Layout: LayoutVersion,
		Variables: map[string]string{"suite": `"trixie"`},
		Releases: []Release{
			{Archive: "debian", Suite: "trixie", Date: "2026-09-12T07:55:41Z", SHA256: hash, Fingerprint: "AA",
				Indexes: []Index{{Path: "main/binary-amd64/Packages", Size: 5, SHA256: hash}}},
		},
		Images: []Image{
			{Name: "static", Platform: "linux/arm64", Spec: "s", Groups: 1},
			{Name: "static", Platform: "linux/amd64", Spec: "s", Groups: 1, Packages: []Package{
				pin("tzdata", "2026a", hash), pin("base-files", "13.8", hash),
			}},
		},
		Expected: []Expected{{Name: "static", Platform: "linux/amd64", Manifest: "sha256:" + hash, DiffIDs: []string{"sha256:" + hash}}},
	}
}

func pin(name, version, hash string) Package {
	return Package{Name: name, Version: version, Arch: "all", Source: name, SourceVersion: version, Archive: "debian",
		Suite: "trixie", Path: "pool/main/" + name + ".deb", Size: 7, SHA256: hash, Reason: "requested"}
}

func TestEncodeIsCanonicalAndReadsBack(t *testing.T) {
	data := Encode(sample())
	got, err := Decode(data)
	if err != nil {
		t.Fatalf("Decode(Encode(f)): %v", err)
	}
	want := sample()
	want.sort()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("Decode(Encode(f)) differs (-want +got):\n%s", d)
	}
	if again := Encode(got); !bytes.Equal(again, data) {
		t.Errorf("Encode(Decode(x)) differs:\n%s\n%s", data, again)
	}
	lines := 0
	for l := range strings.Lines(string(data)) {
		if strings.Contains(l, `"sha256"`) && strings.Contains(l, `"pool/main/`) {
			lines++
		}
	}
	if lines != 2 {
		t.Errorf("%d lines with one package each, want 2:\n%s", lines, data)
	}
}

func TestDigestLeavesOutWhatBuildsGave(t *testing.T) {
	with, without := sample(), sample()
	without.Expected = nil
	if Digest(with) != Digest(without) {
		t.Error("Digest depends on Expected")
	}
	without.Images[0].Groups = 2
	if Digest(with) == Digest(without) {
		t.Error("Digest does not depend on the images")
	}
}

// TestPartIsOfOneImage changes a lock: what goes into the image changes its part, and
// nothing else does.
func TestPartIsOfOneImage(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	set := &spec.Set{Images: []spec.Image{{Name: "static"}, {Name: "app", Parent: "static"}, {Name: "other"}, {Name: "grandchild", Parent: "app"}}}
	lock := func() *File {
		f := sample()
		f.Releases = append(f.Releases, Release{Archive: "debian", Suite: "trixie-updates", SHA256: hash}, Release{Archive: "own", Suite: "trixie", SHA256: hash})
		for _, name := range []string{"app", "other", "grandchild"} {
			f.Images = append(f.Images, Image{Name: name, Platform: "linux/amd64", Groups: 1, Packages: []Package{pin(name, "1", hash)}})
		}
		f.Find("other", "linux/amd64").Packages[0].Suite = "trixie-updates"
		return f
	}
	digest := func(change func(*File)) string {
		f := lock()
		change(f)
		return Digest(f.Part(set, "app", "linux/amd64"))
	}
	same := digest(func(*File) {})
	for name, c := range map[string]struct {
		change func(*File)
		moves  bool
	}{
		"own package":               {func(f *File) { f.Find("app", "linux/amd64").Packages[0].Version = "2" }, true},
		"parent's package":          {func(f *File) { f.Find("static", "linux/amd64").Packages[0].Version = "2" }, true},
		"own drop":                  {func(f *File) { f.Find("app", "linux/amd64").Drops = []Drop{{"app", "etc/x"}} }, true},
		"release of a package":      {func(f *File) { f.Releases[0].Date = "2026-10-01T00:00:00Z" }, true},
		"variables":                 {func(f *File) { f.Variables = nil }, true},
		"order":                     {func(f *File) { slices.Reverse(f.Images); slices.Reverse(f.Releases) }, false},
		"other platform":            {func(f *File) { f.Find("static", "linux/arm64").Groups = 2 }, false},
		"other template":            {func(f *File) { f.Find("other", "linux/amd64").Groups = 2 }, false},
		"child":                     {func(f *File) { f.Find("grandchild", "linux/amd64").Groups = 2 }, false},
		"release of no package":     {func(f *File) { f.Releases[1].Date = "2026-10-01T00:00:00Z" }, false},
		"same suite, other archive": {func(f *File) { f.Releases[2].Date = "2026-10-01T00:00:00Z" }, false},
		"index read for another":    {func(f *File) { f.Releases[0].Indexes = append(f.Releases[0].Indexes, Index{Path: "x"}) }, false},
		"what builds gave":          {func(f *File) { f.Expected = nil }, false},
	} {
		if moved := digest(c.change) != same; moved != c.moves {
			t.Errorf("%s: the digest moves: %t, want %t", name, moved, c.moves)
		}
	}
	f := lock()
	if f.Part(set, "app", "linux/amd64"); len(f.Releases[0].Indexes) != 1 || len(f.Images) != 5 {
		t.Error("Part changes the lock")
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(Encode(sample()))
	hash := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		data string
		want diag.ID
		text string
	}{
		"empty":           {"", diag.LockMalformed, "unexpected end"},
		"cut":             {good[:len(good)/2], diag.LockMalformed, "line"},
		"trailing text":   {good + "{}", diag.LockMalformed, "after top-level"},
		"unknown member":  {strings.Replace(good, `"layout"`, `"x": 1, "layout"`, 1), diag.LockMalformed, "unknown field"},
		"newer format":    {strings.Replace(good, `"version": 1`, `"version": 2`, 1), diag.LockVersion, "format 2"},
		"newer layout":    {strings.Replace(good, `"layout": 1`, `"layout": 9`, 1), diag.LockVersion, "layout 9"},
		"no hash":         {strings.Replace(good, `"size":7,"sha256":"`+hash, `"size":7,"sha256":"`, 1), diag.LockMalformed, "no SHA-256"},
		"path upwards":    {strings.Replace(good, "pool/main/tzdata", "../main/tzdata", 1), diag.LockMalformed, "path"},
		"path encoded":    {strings.Replace(good, "pool/main/tzdata", "pool/%2e%2e/tzdata", 1), diag.LockMalformed, "path"},
		"name":            {strings.Replace(good, `"name":"tzdata"`, `"name":"../x"`, 1), diag.LockMalformed, "no package"},
		"package twice":   {strings.Replace(good, `"name":"tzdata"`, `"name":"base-files"`, 1), diag.LockMalformed, "twice"},
		"image twice":     {strings.Replace(good, "linux/arm64", "linux/amd64", 1), diag.LockMalformed, "twice"},
		"no groups":       {strings.Replace(good, `"groups":1`, `"groups":0`, 1), diag.LockMalformed, "groups"},
		"release no hash": {strings.Replace(good, `"sha256":"`+hash+`","fingerprint"`, `"sha256":"x","fingerprint"`, 1), diag.LockMalformed, "no SHA-256"},
		"wrong type":      {strings.Replace(good, `"groups":1`, `"groups":"1"`, 1), diag.LockMalformed, "line"},
	} {
		_, err := Decode([]byte(c.data))
		if diag.IDOf(err) != c.want || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: Decode gave %v (%s), want %s with %q", name, err, diag.IDOf(err), c.want, c.text)
		}
	}
}

func TestWriteDirIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadDir(dir); diag.IDOf(err) != diag.LockMissing {
		t.Errorf("ReadDir of an empty directory: %v, want %s", err, diag.LockMissing)
	}
	if err := WriteDir(dir, sample()); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteDir(dir, sample()); err != nil {
		t.Fatal(err)
	}
	after, _ := os.Stat(filepath.Join(dir, FileName))
	if !os.SameFile(before, after) {
		t.Error("the same lock was written again")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("%d files beside the lock, want none", len(entries)-1)
	}
}

func TestFresh(t *testing.T) {
	set := &spec.Set{Images: []spec.Image{
		{Name: "static", Platforms: []string{"linux/amd64"}},
		{Name: "base", Parent: "static", Platforms: []string{"linux/amd64"}},
		{Name: "other", Platforms: []string{"linux/amd64"}},
	}}
	f := &File{Images: []Image{
		{Name: "static", Platform: "linux/amd64", Spec: set.ImageDigest("static")},
		{Name: "base", Platform: "linux/amd64", Spec: set.ImageDigest("base")},
	}}
	if err := f.Fresh(set, "base"); err != nil {
		t.Errorf("Fresh(base) = %v, want nil", err)
	}
	if err := f.Fresh(set); diag.IDOf(err) != diag.LockMissing {
		t.Errorf("Fresh() = %v, want %s for other", err, diag.LockMissing)
	}
	set.Images[0].Packages.Install = []string{"tzdata"}
	if err := f.Fresh(set, "base"); diag.IDOf(err) != diag.LockStale || !strings.Contains(err.Error(), "static") {
		t.Errorf("Fresh(base) after a change of its parent = %v, want %s", err, diag.LockStale)
	}
}

func TestDiffReadsWell(t *testing.T) {
	old, new := sample(), sample()
	new.Releases[0].SHA256, new.Releases[0].Date = strings.Repeat("cd", 32), "2026-11-20T00:00:00Z"
	new.Images[0].Packages = []Package{pin("base-files", "13.9", strings.Repeat("cd", 32)), pin("netbase", "6.5", strings.Repeat("cd", 32)), pin("media-types", "13", strings.Repeat("cd", 32))}
	old.Images[0].Packages = []Package{pin("tzdata", "2026a", strings.Repeat("ab", 32)), pin("base-files", "13.8", strings.Repeat("ab", 32)), pin("media-types", "13", strings.Repeat("ab", 32))}
	new.Images[1].Packages, old.Images[1].Packages = new.Images[0].Packages, old.Images[0].Packages
	var b strings.Builder
	WriteChanges(&b, Diff(old, new))
	want := `archives
  ~ debian trixie of 2026-09-12T07:55:41Z -> 2026-11-20T00:00:00Z
static linux/arm64, static linux/amd64
  ~ base-files 13.8 -> 13.9  (trixie)
  ~ media-types 13: another file of the same version  (trixie)
  + netbase 6.5  (trixie)
  - tzdata 2026a
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	if c := Diff(old, old); len(c) != 0 {
		t.Errorf("Diff(x, x) = %v, want nothing", c)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(sample()))
	f.Add([]byte(`{"version":1,"layout":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Decode(data)
		if err != nil {
			return
		}
		first := Encode(got)
		again, err := Decode(first)
		if err != nil {
			t.Fatalf("Decode(Encode(Decode(x))): %v", err)
		}
		if second := Encode(again); !bytes.Equal(first, second) {
			t.Fatalf("Encode is not stable:\n%s\n%s", first, second)
		}
	})
}
