package pipeline

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/rootfs"
)

// family is a lock of three images, of which "a" is the child of "z": parents come
// after children here. versions are of the package that each image has.
func family(versions map[string]string) *lock.File {
	f := &lock.File{}
	for _, m := range []struct{ name, parent string }{{"a", "z"}, {"b", ""}, {"deep", "a"}, {"z", ""}} {
		if versions[m.name] == "" {
			continue
		}
		f.Images = append(f.Images, lock.Image{Name: m.name, Parent: m.parent, Platform: "linux/amd64", Spec: "s",
			Packages: []lock.Package{{Name: "p" + m.name, Version: versions[m.name], SHA256: versions[m.name]}}})
		f.Expected = append(f.Expected, lock.Expected{Name: m.name, Platform: "linux/amd64"}, lock.Expected{Name: m.name})
	}
	return f
}

func TestKeepExpectedOfWhatStayedTheSame(t *testing.T) {
	all := map[string]string{"a": "1", "b": "1", "deep": "1", "z": "1"}
	for _, tt := range []struct {
		name string
		now  map[string]string
		edit func(*lock.File)
		want []string
	}{
		{"nothing changed", all, nil, []string{"a", "b", "deep", "z"}},
		{"one alone", map[string]string{"a": "1", "b": "2", "deep": "1", "z": "1"}, nil, []string{"a", "deep", "z"}},
		{"a parent takes its descendants along", map[string]string{"a": "1", "b": "1", "deep": "1", "z": "2"}, nil, []string{"b"}},
		{"a child leaves its parent", map[string]string{"a": "2", "b": "1", "deep": "1", "z": "1"}, nil, []string{"b", "z"}},
		{"a template that is gone", map[string]string{"a": "1", "deep": "1", "z": "1"}, nil, []string{"a", "deep", "z"}},
		{"a template that changed without its packages", all, func(f *lock.File) { f.Images[1].Spec = "t" }, []string{"a", "deep", "z"}},
		{"a package with another hash", all, func(f *lock.File) { f.Images[1].Packages[0].SHA256 = "other" }, []string{"a", "deep", "z"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := family(tt.now)
			if tt.edit != nil {
				tt.edit(now)
			}
			var got []string
			for _, e := range keepExpected(family(all), now) {
				got = append(got, e.Name)
			}
			if d := cmp.Diff(tt.want, slices.Compact(got)); d != "" {
				t.Errorf("kept (-want +got):\n%s", d)
			}
		})
	}
}

func listing(name, version, control string, entries ...rootfs.Entry) *contents {
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\n%s", name, version, control)
	return &contents{Listing: &rootfs.Listing{Package: name, Version: version, Arch: "all", Control: []byte(text), Entries: entries}}
}

func file(path string, mtime int64, sum string) rootfs.Entry {
	return rootfs.Entry{Path: path, Type: "file", Mode: 0o644, MTime: mtime, SHA256: sum, Size: 1}
}

func TestSettleImage(t *testing.T) {
	old := listing("old", "1.0-1", "", file("/usr/bin/tool", 100, "aa"))
	taker := listing("new", "2.0-1", "Replaces: old (<< 1.1)\n", file("/usr/bin/tool", 50, "bb"))
	m := lock.Image{Name: "x", Packages: []lock.Package{{Name: "new"}, {Name: "old"}}, Drops: []lock.Drop{{Package: "stale", Path: "x"}}}
	if err := settleImage(&m, []*contents{old, taker}, nil); err != nil {
		t.Fatal(err)
	}
	if want := "1970-01-01T00:01:40Z"; m.Created != want {
		t.Errorf("created %s, want %s: the newest date of a file", m.Created, want)
	}
	if d := cmp.Diff([]lock.Drop{{Package: "old", Path: "/usr/bin/tool"}}, m.Drops); d != "" {
		t.Errorf("drops (-want +got):\n%s", d)
	}

	rival := listing("rival", "2.0-1", "Replaces: old (<< 1.0)\n", file("/usr/bin/tool", 50, "bb"))
	if err := settleImage(&m, []*contents{old, rival}, nil); diag.IDOf(err) != diag.FileConflict {
		t.Errorf("two owners of one file: error %v, want %s", err, diag.FileConflict)
	}
}

func TestReplaces(t *testing.T) {
	of := listing("old", "1:1.0-1", "").Listing
	for _, tt := range []struct {
		field string
		want  bool
	}{
		{"", false},
		{"Replaces: old\n", true},
		{"Replaces: other, old (<< 1:2)\n", true},
		{"Replaces: other,\n old (<< 1:2)\n", true},
		{"Replaces: old (<< 1:1.0-1)\n", false},
		{"Replaces: old (<= 1:1.0-1)\n", true},
		{"Replaces: older\n", false},
		{"Replaces: old (<<\n", false},
		{"Breaks: old\n", false},
	} {
		if got := replaces(listing("by", "1", tt.field).Listing, of); got != tt.want {
			t.Errorf("replaces with %q = %v, want %v", tt.field, got, tt.want)
		}
	}
}

func TestCopyrightComesFromThePackageOfTheDocDirectory(t *testing.T) {
	own := &contents{Copyright: []byte("own"), DocOf: "other", Listing: &rootfs.Listing{}}
	linked := &contents{DocOf: "other", Listing: &rootfs.Listing{}}
	dangling := &contents{DocOf: "absent", Listing: &rootfs.Listing{}}
	byName := map[string]*contents{"other": {Copyright: []byte("other's")}}
	for _, tt := range []struct {
		c    *contents
		want string
	}{{own, "own"}, {linked, "other's"}, {dangling, ""}} {
		if got := describe(lock.Package{}, tt.c, byName); string(got.Copyright) != tt.want {
			t.Errorf("copyright of a package with doc directory of %q is %q, want %q", tt.c.DocOf, got.Copyright, tt.want)
		}
	}
}
