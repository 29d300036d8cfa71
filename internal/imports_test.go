package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var levelRow = regexp.MustCompile("^\\| (\\d) \\| `([a-z/]+)` \\|")

// TestImportsGoDown holds the code to the table of packages in README.md: every package
// is in it, and imports only packages of lower levels.
func TestImportsGoDown(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	levels := map[string]int{}
	for line := range strings.Lines(string(data)) {
		if m := levelRow.FindStringSubmatch(line); m != nil {
			levels[m[2]], _ = strconv.Atoi(m[1])
		}
	}
	seen := map[string]bool{}
	for pkg, imports := range packageImports(t) {
		seen[pkg] = true
		level, listed := levels[pkg]
		if !listed {
			t.Errorf("package %s is not in the table of README.md", pkg)
			continue
		}
		for _, dep := range imports {
			if levels[dep] >= level {
				t.Errorf("package %s (level %d) imports %s (level %d)", pkg, level, dep, levels[dep])
			}
		}
	}
	for pkg := range levels {
		if !seen[pkg] {
			t.Errorf("package %s is in the table of README.md but not in the code", pkg)
		}
	}
}

// packageImports gives the forge packages that each package imports, tests aside.
func packageImports(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if d != nil && d.Name() == "testdata" {
					return fs.SkipDir
				}
				return err
			}
			if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			if f.Name.Name == "main" && path.Base(filepath.Dir(name)) == "gen" {
				return nil // generators are not part of forge
			}
			pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), "../")
			if _, ok := all[pkg]; !ok {
				all[pkg] = nil
			}
			for _, i := range f.Imports {
				if dep, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "forge/internal/"); ok {
					all[pkg] = append(all[pkg], dep)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
