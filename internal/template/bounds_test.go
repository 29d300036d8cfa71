package template_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"forge/internal/diag"
	"forge/internal/hclconf"
	"forge/internal/spec"
	"forge/internal/template"
)

// one is a directory of one template file.
func one(src string) fstest.MapFS {
	return fstest.MapFS{"a.forge.hcl": {Data: []byte(src)}, "keys.asc": {Data: []byte("keys")}}
}

// numbered repeats a text, filling in the number and the one before it.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		args := []any{i + 1, i}
		fmt.Fprintf(&b, format, args[:strings.Count(format, "%d")]...)
	}
	return b.String()
}

func TestHostileExpressionsAreRefused(t *testing.T) {
	doubled := "locals {\n  a0 = [1, 1]\n"
	for i := range 60 {
		doubled += fmt.Sprintf("  a%d = [local.a%d, local.a%d]\n", i+1, i, i)
	}
	words := "locals {\n  a0 = \"xxxxxxxx\"\n"
	for i := range 60 {
		words += fmt.Sprintf("  a%d = \"${local.a%d}${local.a%d}\"\n", i+1, i, i)
	}
	x := func(expr string) string { return "locals {\n  n = range(1000)\n  x = " + expr + "\n}\n" }
	tests := []struct{ name, src, want string }{
		{"nested brackets", x(strings.Repeat("[", 100000)), "brackets nested more than 100 deep"},
		{"nested blocks", strings.Repeat("a {\n", 100000), "brackets nested more than 100 deep"},
		{"nested interpolation", x(strings.Repeat(`"${`, 100000)), "brackets nested more than 100 deep"},
		{"many signs", x(strings.Repeat("!", 200000) + "true"), "more than 10000 operators in one file"},
		{"many sums", x("1" + strings.Repeat("+1", 200000)), "more than 10000 operators in one file"},
		{"many conditions", x(strings.Repeat("true ? 1 : ", 50000) + "1"), "more than 10000 operators in one file"},
		{"doubled lists", doubled + "}\n", "the expression makes too much"},
		{"doubled texts", words + "}\n", "the expression makes too much"},
		{"loops in loops", x("[for a in local.n : [for b in local.n : [for c in local.n : 1]]]"), "the expression makes too much"},
		{"loops in loops behind can", x("[for a in local.n : can([for b in local.n : [for c in local.n : 1]])]"), "the expression makes too much"},
		{"conditions in loops", x("[for a in local.n : 1 if length([for b in local.n : b if length([for c in local.n : c]) > 5]) > 5]"), "the expression makes too much"},
		{"text in loops", x(`"%{for a in local.n}%{for b in local.n}%{for c in local.n}x%{endfor}%{endfor}%{endfor}"`), "the expression makes too much"},
		{"splats", x("[for a in local.n : [for b in local.n : local.n[*]]]"), "the expression makes too much"},
		{"long range", x("range(1000000000)"), "error in function call"},
		{"wide format", x(`format("%1000000000d", 1)`), "error in function call"},
		{"precise format", x(`format("%.1000000000f", 1)`), "error in function call"},
		{"starred format", x(`format("%*d", 1000000000, 1)`), "error in function call"},
		{"format of a huge number", x(`format("%d", "1e600000000")`), "error in function call"},
		{"huge number", x(`"${1e1000000000}"`), "number too large"},
		{"grown number", x("1e1000 * 1e1000 * 1e1000"), "number too large"},
		{"huge number in a text", x(`"1e600000000" % 3`), "number too large"},
		{"huge number as an argument", x(`floor("1e600000000")`), "error in function call"},
		{"product of sets", x("setproduct(local.n, local.n, local.n, local.n)"), "error in function call"},
		{"long separator", x(`join(join(",", [for a in local.n : "xxxxxxxxxxxxxxxx"]), local.n)`), "error in function call"},
		{"replacement", x(`replace(join("", local.n), "", join("", [for a in local.n : "xxxxxxxx"]))`), "error in function call"},
		{"indentation", x(`indent(1000000000, "a\nb")`), "error in function call"},
		{"deep JSON", x(`jsondecode(join("", [for a in local.n : "[[[["]))`), "error in function call"},
		{"large file", strings.Repeat("#", 2<<20), "a.forge.hcl cannot be read"},
		{"many locals", numbered(20000, "locals {\n a%d = 1\n}\n"), "more than 1000 local values"},
		{"many images", numbered(1500, "template \"a%d\" {\n version = \"1\"\n}\n"), "more than 1000 images in one directory"},
		{"long lineage", "template \"a0\" {\n version = \"1\"\n}\n" + numbered(30, "template \"a%d\" {\n extends = template.a%d\n}\n"), "template \"a21\" has more than 20 ancestors"},
		{"large family", "template \"a\" {\n version = \"1\"\n for_each = [for i in range(1000) : \"k${i}\"]\n}\n", "\"for_each\" has 1000 elements"},
		{"binary noise", string([]byte{0, 1, 2, 0xff, 0xfe, '{', '"'}), "invalid character encoding"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, list := template.Load(one(tt.src), template.Options{})
			if !slices.ContainsFunc(list, func(f diag.Finding) bool { return f.Summary == tt.want }) {
				t.Errorf("Load reported\n%.2000s\nwant %q", text(t, list), tt.want)
			}
		})
	}
}

func TestOrderOfFilesAndBlocksDoesNotMatter(t *testing.T) {
	dir := "testdata/good/design"
	var blocks []string
	files := fstest.MapFS{}
	for _, name := range []string{"main.forge.hcl", "family.forge.hcl"} {
		data, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, strings.SplitAfter(string(data), "\n}\n")...)
	}
	for _, name := range []string{"motd.txt", "debian-archive.asc"} {
		data, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	want, err := os.ReadFile(dir + "/spec.json")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range int64(20) {
		r := rand.New(rand.NewSource(seed))
		r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		cut := r.Intn(len(blocks))
		files["x.forge.hcl"] = &fstest.MapFile{Data: []byte(strings.Join(blocks[:cut], "\n"))}
		files["y.forge.hcl"] = &fstest.MapFile{Data: []byte(strings.Join(blocks[cut:], "\n"))}
		set, list := template.Load(files, template.Options{})
		if len(list) > 0 {
			t.Fatalf("seed %d: Load reported\n%s", seed, text(t, list))
		}
		got, err := spec.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("seed %d: the spec differs (-want +got):\n%s", seed, diff)
		}
	}
}

func TestVariables(t *testing.T) {
	const src = `
variable "version" { type = string }
variable "count" {
  type    = number
  default = 1
}
variable "list" {
  type    = list(string)
  default = []
}
variable "object" {
  type    = object({ name = string, size = optional(number, 3) })
  default = { name = "d" }
}
template "a" {
  version     = var.version
  description = "${var.count} ${join(",", var.list)} ${var.object.name} ${var.object.size}"
}
`
	hclFile := func(s string) hclconf.File { return hclconf.File{Name: "x.forgevars", Data: []byte(s)} }
	jsonFile := func(s string) hclconf.File { return hclconf.File{Name: "x.json", Data: []byte(s)} }
	tests := []struct {
		name    string
		opts    template.Options
		version string
		want    string // description, or the summary of the first finding
	}{
		{"defaults", template.Options{Vars: map[string]string{"version": "1"}}, "1", "1  d 3"},
		{"text that looks like a number stays text", template.Options{Vars: map[string]string{"version": "1.10", "count": "2"}}, "1.10", "2  d 3"},
		{"lists and objects", template.Options{Vars: map[string]string{"version": "1", "list": `["a", "b"]`, "object": `{ name = "n" }`}}, "1", "1 a,b n 3"},
		{"HCL file", template.Options{VarFiles: []hclconf.File{hclFile("version = \"2\"\nlist = [\"x\"]\n")}}, "2", "1 x d 3"},
		{"JSON file", template.Options{VarFiles: []hclconf.File{jsonFile(`{"version": "3", "count": 7}`)}}, "3", "7  d 3"},
		{"later files win, flags win over all", template.Options{
			Vars:     map[string]string{"count": "9"},
			VarFiles: []hclconf.File{hclFile("version = \"2\"\ncount = 1\n"), jsonFile(`{"version": "3", "count": 7}`)},
		}, "3", "9  d 3"},
		{"no value", template.Options{}, "", `variable "version" has no value`},
		{"unknown", template.Options{Vars: map[string]string{"version": "1", "cuont": "1"}}, "", `no variable "cuont"`},
		{"wrong type", template.Options{Vars: map[string]string{"version": "1", "count": `"x"`}}, "", `the value of variable "count" has another type`},
		{"syntax", template.Options{Vars: map[string]string{"version": "1", "list": `["x"`}}, "", "unterminated tuple constructor expression"},
		{"reference", template.Options{Vars: map[string]string{"version": "1", "list": `[var.version]`}}, "", `unknown name "var"`},
		{"deep JSON", template.Options{VarFiles: []hclconf.File{jsonFile(`{"version": ` + strings.Repeat("[", 200000))}}, "", "brackets nested more than 100 deep"},
		{"block in a file", template.Options{VarFiles: []hclconf.File{hclFile("version = \"1\"\nvariable \"x\" {}\n")}}, "", "a block in a variables file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, list := template.Load(one(src), tt.opts)
			if tt.version == "" {
				if !slices.ContainsFunc(list, func(f diag.Finding) bool { return f.Summary == tt.want }) {
					t.Errorf("Load reported\n%swant %q", text(t, list), tt.want)
				}
				return
			}
			if len(list) > 0 {
				t.Fatalf("Load reported\n%s", text(t, list))
			}
			if got := set.Images[0]; got.Version != tt.version || got.Description != tt.want {
				t.Errorf("version %q, description %q, want %q, %q", got.Version, got.Description, tt.version, tt.want)
			}
		})
	}
}

func TestVariablesAreRecorded(t *testing.T) {
	set, _ := template.Load(one("variable \"n\" {\n type = number\n default = 3\n}\nvariable \"s\" {\n default = \"x\"\n}\n"), template.Options{})
	want := map[string]string{"n": "3", "s": `"x"`}
	if diff := cmp.Diff(want, set.Variables); diff != "" {
		t.Errorf("variables differ (-want +got):\n%s", diff)
	}
}

func TestFormat(t *testing.T) {
	got, list := template.Format("a.forge.hcl", []byte("\n\ntemplate   \"a\"  {\nversion=\"1\"\n  description = \"x\"\n}"))
	if want := "template \"a\" {\n  version     = \"1\"\n  description = \"x\"\n}\n"; string(got) != want || len(list) > 0 {
		t.Errorf("Format = %q, %v, want %q", got, list, want)
	}
	again, _ := template.Format("a.forge.hcl", got)
	if !bytes.Equal(again, got) {
		t.Errorf("Format changes its own result to %q", again)
	}
	bad := []byte("template {")
	if got, list := template.Format("a.forge.hcl", bad); !bytes.Equal(got, bad) || !list.HasErrors() {
		t.Errorf("Format of a broken file = %q, %v", got, list)
	}
}

// TestReferenceExamplesAreValid loads every example of the reference, with the blocks
// that it refers to.
func TestReferenceExamplesAreValid(t *testing.T) {
	var src strings.Builder
	for i, part := range strings.Split(template.Reference(), "```") {
		if code, ok := strings.CutPrefix(part, "hcl\n"); ok && i%2 == 1 {
			src.WriteString(code)
			if formatted, list := template.Format("a.forge.hcl", []byte(code)); string(formatted) != code || len(list) > 0 {
				t.Errorf("the example is not formatted:\n%s", code)
			}
		}
	}
	fsys := one(src.String())
	fsys["debian-archive.asc"] = &fstest.MapFile{Data: []byte("keys")}
	set, list := template.Load(fsys, template.Options{})
	if len(list) > 0 {
		t.Fatalf("Load reported\n%s", text(t, list))
	}
	if len(set.Images) != 3 || len(set.Scripts) != 1 {
		t.Errorf("%d images and %d scripts, want 3 and 1", len(set.Images), len(set.Scripts))
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/good/design", "testdata/bad/entries", "testdata/bad/inherit", "testdata/bad/family", "testdata/bad/variables", "testdata/bad/shapes", "testdata/bad/script"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".forge.hcl") {
				data, err := os.ReadFile(dir + "/" + e.Name())
				if err != nil {
					f.Fatal(err)
				}
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		load := func() ([]byte, []byte) {
			set, list := template.Load(one(string(src)), template.Options{Vars: map[string]string{"suite": "x"}})
			if (set == nil) != list.HasErrors() {
				t.Fatalf("set %v with findings %v", set, list)
			}
			if set == nil {
				return nil, text(t, list)
			}
			if err := set.Validate(); err != nil {
				t.Fatalf("Validate: %v", err)
			}
			data, err := spec.Marshal(set)
			if err != nil {
				t.Fatal(err)
			}
			return data, text(t, list)
		}
		set, list := load()
		set2, list2 := load()
		if !bytes.Equal(set, set2) || !bytes.Equal(list, list2) {
			t.Errorf("two loads differ:\n%s\n%s\n%s\n%s", set, set2, list, list2)
		}
	})
}
