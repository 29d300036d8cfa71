package template_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"forge/internal/template"
)

// TestTemplatesOfThisRepository loads every directory of templates that the repository
// hands out: those below templates/ and examples/.
func TestTemplatesOfThisRepository(t *testing.T) {
	var files []string
	for _, top := range []string{"templates", "examples"} {
		found, err := filepath.Glob(filepath.Join("..", "..", top, "*", template.Pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d template files, %v", top, len(found), err)
		}
		files = append(files, found...)
	}
	loaded := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if formatted, list := template.Format(file, data); list.HasErrors() || !bytes.Equal(formatted, data) {
			t.Errorf("%s is not formatted as `forge fmt` does", file)
		}
		dir := filepath.Dir(file)
		if loaded[dir] {
			continue
		}
		loaded[dir] = true
		if set, list := template.Load(os.DirFS(dir), template.Options{}); len(list) > 0 || len(set.Images) == 0 {
			t.Errorf("%s:\n%s", dir, text(t, list))
		}
	}
}

var hclBlock = regexp.MustCompile("(?ms)^ *```hcl\n(.*?)^ *```$")

// TestTemplatesInTheDocs parses every block of HCL that the pages show.
func TestTemplatesInTheDocs(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, page := range append(pages, "../../README.md") {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range hclBlock.FindAllSubmatch(data, -1) {
			blocks++
			if _, list := template.Format(page, m[1]); list.HasErrors() {
				t.Errorf("%s:\n%s\n%s", page, m[1], text(t, list))
			}
		}
	}
	if blocks < 10 {
		t.Errorf("only %d blocks of HCL found in the pages", blocks)
	}
}
