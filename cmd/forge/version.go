package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"forge/internal/lock"
)

// buildVersion is forge's own version: the module's, as the Go tool recorded it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// moduleVersion is the version of a module that forge was built with, "" if none.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of forge, its engine and its formats",
		GroupID: "more",
		Args:    maxArgs(0, "no arguments"),
		Example: "  forge version\n  forge version --format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			v := struct {
				Version  int    `json:"version"`
				Forge    string `json:"forge"`
				Go       string `json:"go"`
				BuildKit string `json:"buildkit"`
				Lock     int    `json:"lock_format"`
				Layout   int    `json:"layout"`
			}{1, buildVersion(), runtime.Version(), moduleVersion("github.com/moby/buildkit"), lock.FormatVersion, lock.LayoutVersion}
			if e.format == "json" {
				return json.NewEncoder(e.stdout).Encode(v)
			}
			_, err := fmt.Fprintf(e.stdout, "forge %s\n%s %s/%s, BuildKit %s, lock format %d, layout %d\n",
				v.Forge, v.Go, runtime.GOOS, runtime.GOARCH, v.BuildKit, v.Lock, v.Layout)
			return err
		},
	}
}
