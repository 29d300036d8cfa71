package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"forge/internal/attest/key"
)

func newKeys(e *env) *cobra.Command {
	keys := &cobra.Command{
		Use:     "keys",
		Short:   "Make signing keys",
		GroupID: "make",
		Args:    maxArgs(0, "a subcommand"),
	}
	keys.AddCommand(newKeysGenerate(e))
	return keys
}

func newKeysGenerate(e *env) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make an encrypted key pair that cosign reads too",
		Long: `Makes an ECDSA P-256 pair: NAME.key, sealed with a password, and NAME.pub.
The password comes from COSIGN_PASSWORD, else from the terminal. A file that exists is
never replaced.`,
		Example: "  forge keys generate\n  COSIGN_PASSWORD=... forge keys generate --output release",
		Args:    maxArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			public, err := key.Generate(prefix, e.password)
			if err != nil {
				return err
			}
			if e.format == "json" {
				return json.NewEncoder(e.stdout).Encode(map[string]any{
					"version": 1, "private": prefix + ".key", "public": prefix + ".pub", "fingerprint": public.Fingerprint(),
				})
			}
			fmt.Fprintf(e.stdout, "%s.key\n%s.pub\n", prefix, prefix)
			e.note("The key's fingerprint is %s.\nKeep %s.key secret; give %s.pub to everyone who verifies.", public.Fingerprint(), prefix, prefix)
			return nil
		},
	}
	cmd.Flags().StringVarP(&prefix, "output", "o", "cosign", "`NAME` of the pair: NAME.key and NAME.pub")
	return cmd
}

// password finds a key's password: COSIGN_PASSWORD where it is set (empty counts), else
// typed at the terminal.
func (e *env) password(confirm bool) ([]byte, error) {
	if p, ok := e.lookupenv("COSIGN_PASSWORD"); ok {
		return []byte(p), nil
	}
	fd := int(e.stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, errors.New("no terminal to ask at and COSIGN_PASSWORD is not set")
	}
	first, err := e.prompt(fd, "Password of the private key: ")
	if err != nil || !confirm {
		return first, err
	}
	second, err := e.prompt(fd, "The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passwords differ")
	}
	return first, nil
}

func (e *env) prompt(fd int, text string) ([]byte, error) {
	fmt.Fprint(e.stderr, text)
	defer fmt.Fprintln(e.stderr)
	return term.ReadPassword(fd)
}
