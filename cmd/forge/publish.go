package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"forge/internal/attest/evidence"
	"forge/internal/attest/key"
	"forge/internal/lock"
	"forge/internal/pipeline"
)

type publishFlags struct {
	variables
	engineFlags
	names  []string
	prefix string
	key    string
	format string
}

func newPublish(e *env) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish [DIR] --to PREFIX --key KEY",
		Short: "Build, attest, push, verify from the registry, then tag",
		Long: `Publishes the templates of DIR as PREFIX/<template>: the lock is checked against signed
package indexes, images are built and pushed by digest, SBOM, provenance and signatures
follow, everything is verified from the registry, and only then the tags move: <version>
and <version>-<digest>, which never moves. Interrupted anywhere, nothing half-done stands
under a tag, and the same command finishes the job.

Credentials come from docker's or podman's configuration, the key's password from
COSIGN_PASSWORD or the terminal.`,
		Example: `  forge keys generate
  forge publish templates/debian --to registry.example/golden --key cosign.key
  forge publish templates/debian -t static --to localhost:5000/golden --key cosign.key`,
		GroupID: "make",
		Args:    maxArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needFlags(cmd, "to", "key"); err != nil {
				return err
			}
			return e.publish(cmd.Context(), dirArg(args), f)
		},
	}
	f.variables.flags(cmd)
	f.engineFlags.flags(cmd, e)
	cmd.Flags().StringSliceVarP(&f.names, "template", "t", nil, "publish only these `TEMPLATES`")
	cmd.Flags().StringVar(&f.prefix, "to", "", "registry and path, `HOST/PATH`; the template's name follows")
	cmd.Flags().StringVar(&f.key, "key", "", "private key `FILE` that signs the evidence")
	cmd.Flags().StringVar(&f.format, "evidence-format", "both", "`FORM` of the evidence: both, bundle or legacy")
	return cmd
}

func (e *env) publish(ctx context.Context, dir string, f publishFlags) error {
	format, err := evidence.ParseFormat(f.format)
	if err != nil {
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
	private, err := key.LoadPrivate(f.key, e.password)
	if err != nil {
		return err
	}
	host, err := e.host(f.engineFlags)
	if err != nil {
		return err
	}
	out, err := host.Publish(ctx, set, locked, pipeline.PublishOptions{
		Prefix: strings.TrimSuffix(f.prefix, "/"), Names: f.names, Key: private, Format: format,
	})
	if err != nil {
		return err
	}
	if e.format == "json" {
		return json.NewEncoder(e.stdout).Encode(map[string]any{"version": 1, "images": out})
	}
	for _, p := range out {
		fmt.Fprintf(e.stdout, "%s\n  tags %s, platforms %s, evidence %s\n", p.Reference,
			strings.Join(p.Tags, " "), strings.Join(p.Platforms, " "), writtenText(p.Evidence))
	}
	return nil
}

func writtenText(n int) string {
	if n == 0 {
		return "was complete"
	}
	return fmt.Sprintf("%d pieces written", n)
}
