package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forge/internal/diag"
	"forge/internal/hclconf"
	"forge/internal/pipeline"
	"forge/internal/template"
)

// newDocs writes the reference pages that are generated from code.
func newDocs(e *env) *cobra.Command {
	return &cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the generated reference pages",
		Hidden: true,
		Args:   exactArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := map[string]string{
				"commands.md":      commandReference(newRoot(&env{lookupenv: func(string) (string, bool) { return "", false }})),
				"errors.md":        diag.Reference(),
				"templates.md":     template.Reference(),
				"configuration.md": configurationReference(),
			}
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return fmt.Errorf("writing docs: %w", err)
				}
			}
			return nil
		},
	}
}

func configurationReference() string {
	return "# Configuration\n\n<!-- Generated from code: go run ./cmd/forge docs docs -->\n\n" +
		"forge needs no configuration where the machine's apt sources name a mirror.\n\n" +
		environmentReference() +
		"\n## File\n\n" +
		"What forge needs to know of this machine's surroundings stands in `forge/config.hcl` in the user's\n" +
		"configuration directory (`~/.config`), or in the file that `FORGE_CONFIG` names. All of it is optional.\n\n" +
		hclconf.Reference(pipeline.ConfigSchemas)
}

// environment lists the variables that forge reads.
var environment = []struct{ names, meaning string }{
	{"`FORGE_CACHE`", "Directory of downloads, encoded layers and the engine's state; `--cache-dir` goes before it. Default: `forge` in `XDG_CACHE_HOME`, else in `~/.cache`."},
	{"`FORGE_CONFIG`", "Configuration file. Default: `forge/config.hcl` in `XDG_CONFIG_HOME`, else in `~/.config`."},
	{"`FORGE_DEB_MIRROR`", "Roots of archives: `NAME=URL[,URL...]`, several separated by spaces. Goes before every other place that names a mirror."},
	{"`FORGE_DEB_SNAPSHOT`", "Root of the snapshot service; goes before `mirror \"snapshot\"`."},
	{"`FORGE_PROGRESS`", "How a build's progress is shown, as `--progress`."},
	{"`BUILDKIT_HOST`", "Address of a BuildKit engine, as `--engine`. Default: the embedded engine."},
	{"`COSIGN_PASSWORD`", "Password of the private key. Without it forge asks at the terminal."},
	{"`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`", "Proxies for archives and registries; small letters go before capitals."},
	{"`NO_COLOR`", "No colours, where it is not empty."},
}

func environmentReference() string {
	var b strings.Builder
	b.WriteString("## Environment\n\n| variable | meaning |\n|---|---|\n")
	for _, v := range environment {
		fmt.Fprintf(&b, "| %s | %s |\n", v.names, v.meaning)
	}
	return b.String()
}

// commandReference documents every command of a tree as Markdown.
func commandReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n<!-- Generated from code: go run ./cmd/forge docs docs -->\n\n")
	fmt.Fprintf(&b, "```\n%s\n```\n\n## Flags of every command\n\n```\n%s```\n", strings.TrimSpace(root.Long), root.PersistentFlags().FlagUsages())
	b.WriteString("\n## Overview\n\n| command | does |\n|---|---|\n")
	for _, cmd := range documented(root) {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", cmd.CommandPath(), strings.ReplaceAll(cmd.CommandPath(), " ", "-"), cmd.Short)
	}
	for _, cmd := range documented(root) {
		writeCommand(&b, cmd)
	}
	return b.String()
}

// documented lists the commands below a command, parents before children.
func documented(cmd *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			list = append(append(list, sub), documented(sub)...)
		}
	}
	return list
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
	if cmd.Runnable() {
		fmt.Fprintf(b, "\n```\n%s\n```\n", cmd.UseLine())
	}
	if cmd.Long != "" {
		fmt.Fprintf(b, "\n%s\n", cmd.Long)
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	flags := cmd.LocalFlags()
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			f.Hidden = true
		}
	})
	if text := flags.FlagUsages(); text != "" {
		fmt.Fprintf(b, "\n```\n%s```\n", text)
	}
}
