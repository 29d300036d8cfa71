package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"forge/internal/attest/evidence"
	"forge/internal/attest/key"
)

func newVerify(e *env) *cobra.Command {
	var keys []string
	cmd := &cobra.Command{
		Use:   "verify REFERENCE --key KEY",
		Short: "Check an image's signatures and evidence",
		Long: `Checks, from the registry alone, that an image (the index and every platform) is signed
by one of the keys, that its SBOM and provenance are there, signed and about this image,
and that the SBOM names exactly the packages that the image holds.`,
		Example: `  forge verify registry.example/golden/static:13.7.0 --key cosign.pub
  forge verify registry.example/golden/static@sha256:... --key cosign.pub --format json`,
		GroupID: "look",
		Args:    exactArgs(1, "one image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needFlags(cmd, "key"); err != nil {
				return err
			}
			var public []*key.Public
			for _, name := range keys {
				k, err := key.LoadPublic(name)
				if err != nil {
					return err
				}
				public = append(public, k)
			}
			host, err := e.host(engineFlags{})
			if err != nil {
				return err
			}
			client, err := host.Registry()
			if err != nil {
				return err
			}
			ref, err := client.Reference(args[0])
			if err != nil {
				return err
			}
			digest, err := client.Resolve(cmd.Context(), ref)
			if err != nil {
				return err
			}
			report, err := evidence.Verify(cmd.Context(), digest, evidence.VerifyOptions{Registry: client, Keys: public})
			if report == nil {
				return err
			}
			return errors.Join(e.showReport(report), err)
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "public key `FILE`; with several, one of them must have signed")
	return cmd
}

func (e *env) showReport(report *evidence.Report) error {
	if e.format == "json" {
		return json.NewEncoder(e.stdout).Encode(report)
	}
	return report.WriteText(e.stdout)
}
