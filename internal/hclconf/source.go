// Package hclconf loads a directory of HCL files: variables, locals and functions
// evaluated, blocks decoded by a table of what may stand where, and every fault
// reported at its place. Templates, policies, fleets and lint settings share it.
//
// Evaluation is a pure function of the files and the given variables. It is bounded:
// files have a size, nesting a depth, and all values made while evaluating a budget.
package hclconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds of what is read. They are far above any file that a person wrote.
const (
	maxFile      = 1 << 20 // bytes of one file
	maxDirectory = 8 << 20 // bytes of all files of a directory
	maxFiles     = 1000
	maxNesting   = 100   // brackets within brackets
	maxOperators = 10000 // operators of one file; each may nest one deeper
)

// File is a file that the caller has read.
type File struct {
	Name string // as it is to appear in messages
	Data []byte
}

// Inputs are the values given to a directory's variables from outside.
type Inputs struct {
	Vars     map[string]string // from --var NAME=VALUE; they win over files
	VarFiles []File            // HCL, or JSON where the name ends in .json; later ones win
}

// Conf is a directory, parsed, with its variables and locals evaluated.
type Conf struct {
	Report    *Report
	Scope     *Scope            // var and local
	Variables map[string]string // every variable's value as JSON
	blocks    []*hclsyntax.Block
}

// Load reads the files of fsys's top directory whose names match pattern (as in
// path.Match). Faults go to the Conf's Report; after a syntax error there is nothing
// to decode.
func Load(fsys fs.FS, pattern string, in Inputs) *Conf {
	c := &Conf{Report: newReport()}
	c.Scope = newScope(c.Report)
	bodies := c.parse(readAll(c.Report, fsys, pattern))
	if c.Report.broken {
		return c
	}
	var variables, locals []*hclsyntax.Block
	for _, b := range bodies {
		c.noAttributes(b)
		for _, block := range b.Blocks {
			switch block.Type {
			case "variable":
				variables = append(variables, block)
			case "locals":
				locals = append(locals, block)
			default:
				c.blocks = append(c.blocks, block)
			}
		}
	}
	c.loadVariables(variables, in)
	c.loadLocals(locals)
	return c
}

func readAll(r *Report, fsys fs.FS, pattern string) []File {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		r.Errorf(hcl.Range{}, "the directory cannot be read", "Reading it gave: %s.", cause(err))
		return nil
	}
	var files []File
	total := 0
	for _, e := range entries {
		if ok, err := path.Match(pattern, e.Name()); err != nil || !ok || e.IsDir() {
			continue
		}
		place := hcl.Range{Filename: e.Name()}
		data, err := ReadFile(fsys, e.Name(), maxFile)
		if err != nil {
			r.Errorf(place, fmt.Sprintf("%s cannot be read", e.Name()), "Reading it gave: %s.", cause(err))
			continue
		}
		total += len(data)
		if total > maxDirectory || len(files) == maxFiles {
			r.Errorf(place, "the directory is too large", "Its %s files may have %d MiB together and number %d. Split it.", pattern, maxDirectory>>20, maxFiles)
			return nil
		}
		files = append(files, File{e.Name(), data})
	}
	if len(files) == 0 && len(r.list) == 0 {
		r.Errorf(hcl.Range{}, fmt.Sprintf("no %s files here", pattern), "The directory has no file whose name matches %s. Run the command in the right directory or name it as argument.", pattern)
	}
	return files
}

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name) // first: opening a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, nil
}

// cause is what an operating system error says without the path, which may be an
// absolute one that a report should not depend on.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (c *Conf) parse(files []File) []*hclsyntax.Body {
	var bodies []*hclsyntax.Body
	for _, f := range files {
		if body := parseFile(c.Report, f); body != nil {
			bodies = append(bodies, body)
		}
	}
	return bodies
}

// parseFile gives nil after a syntax error, and then marks the report as broken.
func parseFile(r *Report, f File) *hclsyntax.Body {
	r.sources[f.Name] = f.Data
	tokens, _ := hclsyntax.LexConfig(f.Data, f.Name, hcl.InitialPos)
	if rng, what := tooDeep(tokens); what != "" {
		r.broken = true
		r.Errorf(rng, what, "The bound protects this machine. Split the expression or the file.")
		return nil
	}
	parsed, ds := hclsyntax.ParseConfig(f.Data, f.Name, hcl.InitialPos)
	if ds.HasErrors() {
		r.broken = true
		r.Diagnostics(firstStringFault(ds))
		return nil
	}
	return parsed.Body.(*hclsyntax.Body)
}

// firstStringFault drops what follows from a string that is not closed: every quote
// after it seems to open another.
func firstStringFault(ds hcl.Diagnostics) hcl.Diagnostics {
	seen := false
	return slices.DeleteFunc(ds, func(d *hcl.Diagnostic) bool {
		if d.Summary != "Invalid multi-line string" {
			return seen && d.Summary == "Unterminated template string"
		}
		again := seen
		seen = true
		return again
	})
}

// tooDeep tells where a file would send a recursive parser or evaluator too deep.
func tooDeep(tokens hclsyntax.Tokens) (hcl.Range, string) {
	depth, operators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
			hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen,
			hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCHeredoc:
			depth--
		case hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash,
			hclsyntax.TokenPercent, hclsyntax.TokenBang, hclsyntax.TokenAnd, hclsyntax.TokenOr,
			hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan,
			hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq,
			hclsyntax.TokenQuestion:
			operators++
		}
		if depth > maxNesting {
			return t.Range, fmt.Sprintf("brackets nested more than %d deep", maxNesting)
		}
		if operators > maxOperators {
			return t.Range, fmt.Sprintf("more than %d operators in one file", maxOperators)
		}
	}
	return hcl.Range{}, ""
}

// noAttributes reports attributes at the top of a file, where only blocks stand.
func (c *Conf) noAttributes(b *hclsyntax.Body) {
	for _, a := range sortedAttributes(b) {
		c.Report.Errorf(a.NameRange, fmt.Sprintf("attribute %q outside of a block", a.Name),
			"Only blocks stand at the top of a file. Move it into a block; a value of your own goes into `locals { %s = ... }`.", a.Name)
	}
}

func sortedAttributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	var list []*hclsyntax.Attribute
	for _, a := range b.Attributes {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return list
}

// FormatErrors parses a file only for its syntax errors.
func FormatErrors(f File) *Report {
	r := newReport()
	if len(f.Data) > maxFile {
		r.Errorf(hcl.Range{Filename: f.Name}, "the file is too large", "It may have %d MiB.", maxFile>>20)
		return r
	}
	parseFile(r, f)
	return r
}

func isJSON(name string) bool { return strings.HasSuffix(name, ".json") }
