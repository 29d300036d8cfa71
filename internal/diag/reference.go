package diag

import (
	"fmt"
	"strings"
)

// groups are the first digits of ids and what they are about.
var groups = []struct{ prefix, title string }{
	{"FE1", "Templates and usage"},
	{"FE2", "Archives and packages"},
	{"FE3", "Lock"},
	{"FE4", "Build and engine"},
	{"FE5", "Evidence"},
	{"FE6", "Registry"},
	{"FE7", "This machine"},
}

// Reference is docs/errors.md: every error id with its meaning, next step and exit code.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Errors\n\n<!-- Generated from code: go run ./cmd/forge docs docs -->\n\n" +
		"Errors that a person can do something about have an id, which is never reused.\n" +
		"The exit code tells a script what kind it is:\n\n" +
		"| exit code | means |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.means)
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		for _, e := range Catalogue {
			if strings.HasPrefix(string(e.ID), g.prefix) {
				fmt.Fprintf(&b, "\n### %s: %s\n\n%s\n\n**Next:** %s\n\nExit code %d.\n", e.ID, e.Title, e.Meaning, e.Next, e.Exit)
			}
		}
	}
	return b.String()
}

var exitCodes = []struct {
	code  int
	means string
}{
	{ExitClean, "done, nothing found"},
	{ExitFailed, "forge could not do it, or refused an input"},
	{ExitUsage, "wrong usage or an invalid input file"},
	{ExitFindings, "findings, a stale lock, or a failed verification"},
	{ExitUndecided, "nothing found, but something could not be checked"},
	{ExitInterrupted, "interrupted"},
}
