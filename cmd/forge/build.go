package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"forge/internal/build"
	"forge/internal/lock"
)

type buildFlags struct {
	variables
	engineFlags
	names     []string
	platforms []string
	output    string
	load      string
	print     string
}

func newBuild(e *env) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Build images as OCI layouts",
		Long: `Builds the locked templates of DIR. With one template, -o names the OCI layout (a
directory, or a file that ends in .tar); with several, -o names a directory that gets one
layout a template. Without -o the image is built and its digests are printed.

The lock is always enforced: a stale or missing one stops the build, and so does a digest
that differs from one the lock expects.`,
		Example: `  forge build templates/debian -o out
  forge build templates/debian -t static -o static.tar
  forge build templates/debian -t python --load docker
  forge build templates/debian -t static --platform linux/amd64 --print=inventory`,
		GroupID: "make",
		Args:    maxArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.build(cmd.Context(), dirArg(args), f)
		},
	}
	f.variables.flags(cmd)
	f.engineFlags.flags(cmd, e)
	cmd.Flags().StringSliceVarP(&f.names, "template", "t", nil, "build only these `TEMPLATES`")
	cmd.Flags().StringSliceVar(&f.platforms, "platform", nil, "build only these `PLATFORMS`, such as linux/arm64")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write OCI layouts to `PATH`")
	cmd.Flags().StringVar(&f.load, "load", "", "hand the image for this machine to `ENGINE`: docker or podman")
	cmd.Flags().StringVar(&f.print, "print", "", "print a `VALUE` of the build: graph (and build nothing) or inventory")
	cmd.RegisterFlagCompletionFunc("load", cobra.FixedCompletions([]string{"docker", "podman"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("print", cobra.FixedCompletions(printable, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *buildFlags) check() error {
	if f.load != "" && f.load != "docker" && f.load != "podman" {
		return usageError{fmt.Errorf("--load %q is not docker or podman", f.load)}
	}
	if f.print != "" && !slices.Contains(printable, f.print) {
		return usageError{fmt.Errorf("--print %q: build can print graph or inventory", f.print)}
	}
	return nil
}

func (e *env) build(ctx context.Context, dir string, f buildFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	set, err := e.load(dir, f.variables)
	if err != nil {
		return err
	}
	locked, err := lock.ReadDir(dir)
	if err != nil {
		return err
	}
	alone := len(set.Images) == 1 || len(f.names) == 1
	for _, m := range set.Images {
		if len(f.names) > 0 && !slices.Contains(f.names, m.Name) {
			continue
		}
		if err := build.CheckOutput(outputOf(f.output, m.Name, alone)); err != nil {
			return err
		}
	}
	host, err := e.host(f.engineFlags)
	if err != nil {
		return err
	}
	if f.print == "graph" {
		return e.printGraphs(ctx, host, set, locked, f)
	}
	results, err := host.Build(ctx, set, locked, f.names, f.platforms)
	if err != nil {
		return err
	}
	paths := make([]string, len(results))
	for i, r := range results {
		paths[i] = outputOf(f.output, r.Name, alone)
		if err := writeResult(ctx, r, paths[i]); err != nil {
			return err
		}
		if f.load != "" {
			if err := r.Load(ctx, f.load, e.platform(), r.Name+":"+r.Version); err != nil {
				return err
			}
		}
	}
	if f.print == "inventory" {
		return e.printInventories(host, results)
	}
	return e.showBuilt(results, paths)
}

// outputOf is where an image's layout goes for -o OUTPUT; "" for no -o.
func outputOf(output, name string, alone bool) string {
	if output == "" || alone {
		return output
	}
	return filepath.Join(output, name)
}

func writeResult(ctx context.Context, r *build.Result, path string) error {
	switch {
	case path == "":
		return nil
	case strings.HasSuffix(path, ".tar"):
		return r.WriteTar(ctx, path)
	}
	return r.WriteLayout(ctx, path)
}

type builtImage struct {
	Platform string   `json:"platform"`
	Digest   string   `json:"digest"`
	Size     int64    `json:"size"` // of the layers, compressed
	DiffIDs  []string `json:"diff_ids"`
}

type built struct {
	Name   string       `json:"name"`
	Digest string       `json:"digest"`
	Path   string       `json:"path,omitempty"`
	Images []builtImage `json:"images"`
}

func (e *env) showBuilt(results []*build.Result, paths []string) error {
	all := []built{}
	for i, r := range results {
		b := built{Name: r.Name, Digest: r.Digest().String()}
		if paths != nil {
			b.Path = paths[i]
		}
		for _, m := range r.Images {
			image := builtImage{Platform: m.Platform, Digest: m.Digest().String()}
			for _, l := range m.Layers {
				image.Size += l.Size
				image.DiffIDs = append(image.DiffIDs, l.DiffID.String())
			}
			b.Images = append(b.Images, image)
		}
		all = append(all, b)
	}
	if e.format == "json" {
		return json.NewEncoder(e.stdout).Encode(map[string]any{"version": 1, "images": all})
	}
	for _, b := range all {
		fmt.Fprintf(e.stdout, "%-12s %-12s %s\n", b.Name, "index", b.Digest)
		for _, m := range b.Images {
			fmt.Fprintf(e.stdout, "%-12s %-12s %s  %s\n", "", m.Platform, m.Digest, sizeText(m.Size))
		}
	}
	return nil
}

// sizeText is a size for people.
func sizeText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.2f MB", float64(n)/1e6)
}
