package diag

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestCatalogueIsOrderedAndComplete(t *testing.T) {
	form := regexp.MustCompile(`^FE[1-7][0-9]{2}$`)
	var last ID
	for _, e := range Catalogue {
		if !form.MatchString(string(e.ID)) || e.ID <= last {
			t.Errorf("%q after %q: want ids of the form FE000, each once, in order", e.ID, last)
		}
		last = e.ID
		if e.Title == "" || strings.HasSuffix(e.Title, ".") {
			t.Errorf("%s: title %q is not a few words", e.ID, e.Title)
		}
		for _, s := range []string{e.Meaning, e.Next} {
			if !strings.HasSuffix(s, ".") {
				t.Errorf("%s: %q is not full sentences", e.ID, s)
			}
		}
		if e.Exit != ExitFailed && e.Exit != ExitUsage && e.Exit != ExitFindings {
			t.Errorf("%s: exit code %d is not an error's", e.ID, e.Exit)
		}
		if Lookup(e.ID) != e {
			t.Errorf("Lookup(%s) gives another entry", e.ID)
		}
	}
}

// Every declared id has an entry: the declarations are read from the source.
func TestEveryIDIsInTheCatalogue(t *testing.T) {
	ids := declared(t)
	if len(ids) < 40 {
		t.Fatalf("only %d ids found in catalogue.go", len(ids))
	}
	for _, id := range ids {
		if !slices.ContainsFunc(Catalogue, func(e Entry) bool { return e.ID == id }) {
			t.Errorf("%s has no entry", id)
		}
	}
	if len(ids) != len(Catalogue) {
		t.Errorf("%d ids, %d entries", len(ids), len(Catalogue))
	}
}

func declared(t *testing.T) []ID {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "catalogue.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ids []ID
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "ID" {
			s, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, ID(s))
		}
		return true
	})
	return ids
}

func TestReferenceExplainsEveryError(t *testing.T) {
	text := Reference()
	for _, e := range Catalogue {
		if strings.Count(text, "\n### "+string(e.ID)+": "+e.Title+"\n") != 1 || !strings.Contains(text, e.Meaning) || !strings.Contains(text, e.Next) {
			t.Errorf("%s is not explained once", e.ID)
		}
	}
}

func TestLookupOfAnUnknownIDFails(t *testing.T) {
	if e := Lookup("FE999"); e.ID != "FE999" || e.Exit != ExitFailed {
		t.Errorf("Lookup = %+v", e)
	}
}
