package main

import (
	"context"
	"fmt"

	"forge/internal/build"
	"forge/internal/lock"
	"forge/internal/pipeline"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// printable are the values of a build that --print knows.
var printable = []string{"graph", "inventory"}

// printGraphs prints what the engine would be asked to do, one image and platform after
// the other.
func (e *env) printGraphs(ctx context.Context, host *pipeline.Host, set *spec.Set, locked *lock.File, f buildFlags) error {
	graphs, err := host.Graphs(ctx, set, locked, f.names, f.platforms)
	if err != nil {
		return err
	}
	for _, g := range graphs {
		text, err := g.Text(ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.stdout, "# %s %s\n%s", g.Image.Name, g.Platform, text); err != nil {
			return err
		}
	}
	return nil
}

// printInventories prints every path of every layer, as JSON lines below a line that
// names the layer.
func (e *env) printInventories(host *pipeline.Host, results []*build.Result) error {
	for _, r := range results {
		for _, m := range r.Images {
			for _, l := range m.Layers {
				entries, err := host.Inventory(l)
				if err != nil {
					return err
				}
				fmt.Fprintf(e.stdout, "# %s %s, layer %s, %s\n", r.Name, m.Platform, l.DiffID, l.Title)
				if err := rootfs.WriteInventory(e.stdout, entries); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
