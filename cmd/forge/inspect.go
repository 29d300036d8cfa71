package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"forge/internal/registry"
)

func newInspect(e *env) *cobra.Command {
	var o registry.InspectOptions
	cmd := &cobra.Command{
		Use:   "inspect REFERENCE",
		Short: "Show what an image is, in one screen",
		Long: `Shows platforms, sizes, packages, user, entrypoint, layers and the evidence that hangs on
an image in a registry, or in an OCI layout (oci:DIR or oci:FILE.tar). Evidence is listed,
not verified: that is forge verify.`,
		Example: `  forge inspect registry.example/golden/python:13.7.0
  forge inspect oci:out/static --format json`,
		GroupID: "look",
		Args:    exactArgs(1, "one image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := e.host(engineFlags{})
			if err != nil {
				return err
			}
			client, err := host.Registry()
			if err != nil {
				return err
			}
			inspection, err := client.Inspect(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			if e.format == "json" {
				return json.NewEncoder(e.stdout).Encode(inspection)
			}
			return registry.WriteText(e.stdout, inspection)
		},
	}
	cmd.Flags().StringVar(&o.Platform, "platform", "", "only this `PLATFORM`, such as linux/arm64")
	cmd.Flags().BoolVar(&o.Shallow, "shallow", false, "do not download layers: packages and uncompressed sizes stay unknown")
	return cmd
}
