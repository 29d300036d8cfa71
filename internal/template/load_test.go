package template_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/diag"
	"forge/internal/spec"
	"forge/internal/template"
)

var update = flag.Bool("update", false, "write the expected results anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func directories(t *testing.T, pattern string) []string {
	t.Helper()
	dirs, err := filepath.Glob(pattern)
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no directories %s: %v", pattern, err)
	}
	return dirs
}

func TestGoodTemplates(t *testing.T) {
	for _, dir := range directories(t, "testdata/good/*") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			set, list := template.Load(os.DirFS(dir), template.Options{})
			if len(list) > 0 {
				t.Fatalf("Load reported\n%s", text(t, list))
			}
			if err := set.Validate(); err != nil {
				t.Errorf("Validate: %v", err)
			}
			data, err := spec.Marshal(set)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "spec.json"), data)
		})
	}
}

func TestBadTemplates(t *testing.T) {
	for _, dir := range directories(t, "testdata/bad/*") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			set, list := template.Load(os.DirFS(dir), template.Options{})
			if set != nil || !list.HasErrors() {
				t.Errorf("Load(%s) = %v, %v, want no set and errors", dir, set, list)
			}
			golden(t, filepath.Join(dir, "want.txt"), text(t, list))
		})
	}
}

func text(t *testing.T, list diag.List) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := diag.WriteText(&b, list, false); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
