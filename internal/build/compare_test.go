package build

import (
	"os"
	"strings"
	"testing"

	"forge/internal/diag"
	"forge/internal/lock"
)

func TestCheckNamesTheFirstDifference(t *testing.T) {
	s := openStore(t)
	set, _ := family()
	image := func(layers ...Layer) *Image {
		m, err := Assemble(set.Image("static"), "linux/amd64", created, layers)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	expect := func(m *Image) lock.Expected {
		e := lock.Expected{Manifest: m.Digest().String()}
		for _, l := range m.Layers {
			e.DiffIDs = append(e.DiffIDs, l.DiffID.String())
		}
		return e
	}
	layer := func(pairs ...string) Layer { return receive(t, s, Zstd, tarOf(t, pairs...), 512) }
	below, old := layer("bin/true", "1"), layer("etc/a", "1", "etc/b", "2")
	gone := layer("etc/gone", "1")
	if err := os.Remove(gone.Path); err != nil {
		t.Fatal(err)
	}
	relabelled := expect(image(below, old))
	relabelled.Manifest = "sha256:" + sha("another")
	for _, test := range []struct {
		name string
		got  *Image
		want lock.Expected
		says string // "" for no error
	}{
		{"same", image(below, old), expect(image(below, old)), ""},
		{"content", image(below, layer("etc/a", "1", "etc/b", "3")), expect(image(below, old)), "layer 2 (packages 1/1: netbase=1.0) differs first in /etc/b (is"},
		{"one more file", image(below, layer("etc/a", "1", "etc/b", "2", "etc/c", "3")), expect(image(below, old)), "/etc/c (not expected)"},
		{"one file less", image(below, layer("etc/a", "1")), expect(image(below, old)), "/etc/b (missing)"},
		{"order", image(below, layer("etc/b", "2", "etc/a", "1")), expect(image(below, old)), "order or framing"},
		{"lower layer", image(layer("bin/true", "2"), old), expect(image(below, old)), "layer 1 "},
		{"one layer more", image(below, old), expect(image(below)), "layer 2 (packages 1/1: netbase=1.0) is one more"},
		{"one layer less", image(below), expect(image(below, old)), "it has 1 layers, the lock expects 2"},
		{"not kept", image(old), expect(image(gone)), "no longer in the layer store"},
		{"config", image(below, old), relabelled, "only config, labels or the encoding differ"},
	} {
		err := s.Check(test.got, test.want)
		if test.says == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if diag.IDOf(err) != diag.DigestDiffers || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want %s with %q", test.name, err, diag.DigestDiffers, test.says)
		}
	}
}

// A layer is compared with one that was encoded otherwise.
func TestCheckAcrossEncodings(t *testing.T) {
	s := openStore(t)
	set, _ := family()
	old := receive(t, s, Gzip, tarOf(t, "etc/a", "1"), 512)
	m, err := Assemble(set.Image("static"), "linux/amd64", created, []Layer{receive(t, s, Zstd, tarOf(t, "etc/a", "2"), 512)})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Check(m, lock.Expected{DiffIDs: []string{old.DiffID.String()}})
	if err == nil || !strings.Contains(err.Error(), "/etc/a (is") {
		t.Errorf("error %v, want one that names /etc/a", err)
	}
}
