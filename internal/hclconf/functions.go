package hclconf

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// absent are functions of other tools that forge cannot have, and what to use.
var absent = map[string]string{
	"file":          "No function reads a file. Where an attribute takes a file, write its relative path in quotes.",
	"filebase64":    "No function reads a file. Where an attribute takes a file, write its relative path in quotes.",
	"templatefile":  "A template reads no files by function. Write the text in a heredoc with ${...} in it.",
	"fileexists":    "A template reads no files by function; its value depends on its text and variables only.",
	"timestamp":     "There is no clock here: the same templates must give the same image on every day. Use a variable.",
	"plantimestamp": "There is no clock here: the same templates must give the same image on every day. Use a variable.",
	"env":           "The environment is not read, so that the same templates give the same image everywhere. Use a variable and --var.",
	"getenv":        "The environment is not read, so that the same templates give the same image everywhere. Use a variable and --var.",
	"uuid":          "There is no randomness here: the same templates must give the same image every time.",
	"uuidv4":        "There is no randomness here: the same templates must give the same image every time.",
	"bcrypt":        "There is no randomness here: the same templates must give the same image every time.",
	"md5":           "MD5 no longer protects. Use sha256.",
	"sha1":          "SHA-1 no longer protects. Use sha256.",
}

// functions are the pure functions of Terraform and Packer, under their names there.
func functions() map[string]function.Function {
	all := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
		"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,
		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc,
		"join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
		"regex_replace": stdlib.RegexReplaceFunc, "replace": stdlib.ReplaceFunc, "split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc,
		"strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
		"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,
		"startswith": textTest(strings.HasPrefix), "endswith": textTest(strings.HasSuffix), "strcontains": textTest(strings.Contains),
		"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
		"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
		"element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc, "length": lengthFunc(),
		"lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
		"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc,
		"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
		"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
		"base64decode": textFunc(decodeBase64), "base64encode": textFunc(encodeBase64), "urlencode": textFunc(encodeURL),
		"sha256": textFunc(sha256Hex), "sha512": textFunc(sha512Hex), "base64sha256": textFunc(sha256Base64),
		"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,
		"tobool": stdlib.MakeToFunc(cty.Bool), "tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String),
		"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
		"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
	}
	for name, f := range all {
		all[name] = bounded(f, guards[name])
	}
	all["can"], all["try"] = tryfunc.CanFunc, tryfunc.TryFunc // their arguments are expressions, not values
	return all
}

// bounded checks arguments before a function sees them. The check stands in Type as
// well, since many functions already compute their result there.
func bounded(f function.Function, guard func(args []cty.Value) error) function.Function {
	check := func(args []cty.Value) error {
		for _, a := range args {
			if a.Type() == cty.Number && a.IsKnown() && !a.IsNull() && tooBig(a.AsBigFloat()) {
				return fmt.Errorf("the number is too large")
			}
		}
		if guard == nil {
			return nil
		}
		return guard(args)
	}
	return function.New(&function.Spec{
		Description: f.Description(),
		Params:      f.Params(),
		VarParam:    f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if err := check(args); err != nil {
				return cty.NilVal, err
			}
			return f.Call(args)
		},
	})
}

// maxResult bounds, in bytes or elements, what one call may make or compare.
const maxResult = 8 << 20

var errResult = fmt.Errorf("the result would be too large")

// guards bound the functions whose work or result grows faster than their arguments.
var guards = map[string]func(args []cty.Value) error{
	"join":          product,
	"replace":       product,
	"regex":         product,
	"regexall":      product,
	"regex_replace": product,
	"indent": func(args []cty.Value) error {
		n, ok := wholeNumber(args[0])
		if !ok || n < 0 || n > 1000 {
			return fmt.Errorf("the number of spaces must be between 0 and 1000")
		}
		return nil
	},
	"format":     formatGuard,
	"formatlist": formatGuard,
	"setproduct": product,
	"distinct":   func(args []cty.Value) error { return product([]cty.Value{args[0], args[0]}) },
	"jsondecode": func(args []cty.Value) error {
		if deepJSON([]byte(text(args[0]))) {
			return fmt.Errorf("the JSON nests more than %d deep", maxNesting)
		}
		return nil
	},
}

// product bounds the product of the arguments' sizes.
func product(args []cty.Value) error {
	total := 1
	for _, a := range args {
		if total *= size(a); total > maxResult {
			return errResult
		}
	}
	return nil
}

var (
	wideVerb  = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{4,}|\*)`)
	hugeText  = regexp.MustCompile(`^\s*[-+]?[0-9.]+[eEpP][-+]?[0-9]{4,}\s*$`)
	errFormat = fmt.Errorf("a width or precision must be below 1000")
)

func formatGuard(args []cty.Value) error {
	if wideVerb.MatchString(text(args[0])) {
		return errFormat
	}
	rows := 1
	for _, a := range args[1:] {
		if hugeText.MatchString(text(a)) {
			return fmt.Errorf("the number is too large")
		}
		if a.Type().IsListType() || a.Type().IsSetType() || a.Type().IsTupleType() {
			rows = max(rows, size(a))
		}
	}
	for _, a := range args {
		if size(a)*rows > maxResult && !a.CanIterateElements() {
			return errResult
		}
	}
	return nil
}

func text(v cty.Value) string {
	if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
		return v.AsString()
	}
	return ""
}

// size is a text's length or a collection's number of elements, at least 1.
func size(v cty.Value) int {
	if !v.IsKnown() || v.IsNull() {
		return 1
	}
	if v.Type() == cty.String {
		return len(v.AsString()) + 1
	}
	if v.CanIterateElements() {
		return v.LengthInt() + 1
	}
	return 1
}

func wholeNumber(v cty.Value) (int64, bool) {
	if !v.IsKnown() || v.IsNull() {
		return 0, true
	}
	n, acc := v.AsBigFloat().Int64()
	return n, acc == big.Exact
}

func textFunc(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		},
	})
}

func textTest(f func(s, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// lengthFunc counts characters of a text as well as elements of a collection.
func lengthFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if s, err := convert.Convert(args[0], cty.String); err == nil {
				return stdlib.Strlen(s)
			}
			if !args[0].CanIterateElements() {
				return cty.NilVal, function.NewArgErrorf(0, "it must be a string, a list or a map")
			}
			return args[0].Length(), nil
		},
	})
}

func decodeBase64(s string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", fmt.Errorf("it is not base64")
	}
	if !utf8.Valid(data) {
		return "", fmt.Errorf("it is not text when decoded")
	}
	return string(data), nil
}

func encodeBase64(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }

func encodeURL(s string) (string, error) { return url.QueryEscape(s), nil }

func sha256Hex(s string) (string, error) {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:]), nil
}

func sha512Hex(s string) (string, error) {
	sum := sha512.Sum512([]byte(s))
	return hex.EncodeToString(sum[:]), nil
}

func sha256Base64(s string) (string, error) {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}
