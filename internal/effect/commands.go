package effect

import (
	"bytes"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

const (
	maxScript   = 1 << 20 // bytes of a script that is parsed
	maxCommands = 40      // commands listed
)

// shellWords are commands that only steer a script or talk to its caller.
var shellWords = []string{
	"[", "test", "true", "false", ":", "echo", "printf", "set", "exit", "return", "shift", "cd",
	"local", "export", "unset", "trap", "break", "continue", "eval", "exec", "read", "umask", "case",
}

// Commands lists the distinct commands that a shell script names, in their order of
// appearance and without those that only steer the script. A script that is no shell
// script gives one line that says so.
func Commands(script []byte) []string {
	if len(script) > maxScript {
		return []string{"(a script of more than a megabyte)"}
	}
	first, _, _ := bytes.Cut(script, []byte("\n"))
	if bytes.HasPrefix(first, []byte("#!")) && !bytes.Contains(first, []byte("sh")) {
		return []string{"(not a shell script: " + strings.TrimSpace(string(first[2:])) + ")"}
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(script), "")
	if err != nil {
		return []string{"(not parsed: " + err.Error() + ")"}
	}
	functions := map[string]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if f, ok := n.(*syntax.FuncDecl); ok && f.Name != nil {
			functions[f.Name.Value] = true
		}
		return true
	})
	var names []string
	syntax.Walk(file, func(n syntax.Node) bool {
		c, ok := n.(*syntax.CallExpr)
		if !ok || len(c.Args) == 0 {
			return true
		}
		name := c.Args[0].Lit()
		if name == "" {
			name = "(a computed command)"
		}
		if !functions[name] && !slices.Contains(shellWords, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return true
	})
	if len(names) > maxCommands {
		names = append(names[:maxCommands], "...")
	}
	if len(names) == 0 {
		return []string{"(no command)"}
	}
	return names
}
