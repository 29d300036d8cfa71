package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"forge/internal/build/engine"
)

func newEngine(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "engine",
		Short:   "Look after the embedded BuildKit",
		GroupID: "more",
		Long: `forge has BuildKit inside: it starts by itself on first use and leaves after five
minutes without work. Its state is a cache and may be deleted.`,
		Args: maxArgs(0, "a subcommand"),
	}
	cmd.AddCommand(newEngineStatus(e), newEngineStop(e), newEnginePrune(e), &cobra.Command{
		Use:    "serve CONFIG",
		Short:  "Run the engine; forge starts this by itself",
		Hidden: true,
		Args:   exactArgs(1, "its configuration"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return engine.Serve(cmd.Context(), args[0])
		},
	})
	return cmd
}

func newEngineStatus(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Tell whether the engine runs, and what it uses",
		Example: "  forge engine status\n  forge engine status --format json",
		Args:    maxArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := e.host(engineFlags{})
			if err != nil {
				return err
			}
			s, err := engine.ReadStatus(cmd.Context(), host.EngineOptions())
			if err != nil {
				return err
			}
			if e.format == "json" {
				return json.NewEncoder(e.stdout).Encode(struct {
					Version int `json:"version"`
					engine.Status
				}{1, s})
			}
			return showStatus(e.stdout, s)
		},
	}
}

func newEngineStop(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "stop",
		Short:   "Stop the engine; its cache stays",
		Example: "  forge engine stop",
		Args:    maxArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := e.host(engineFlags{})
			if err != nil {
				return err
			}
			stopped, err := engine.Stop(cmd.Context(), host.EngineOptions())
			if err == nil && !stopped {
				e.note("No engine was running.")
			}
			return err
		},
	}
}

func newEnginePrune(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "prune",
		Short:   "Drop the engine's cache",
		Example: "  forge engine prune",
		Args:    maxArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := e.host(engineFlags{})
			if err != nil {
				return err
			}
			freed, err := engine.Prune(cmd.Context(), host.EngineOptions())
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s freed\n", sizeText(freed))
			return nil
		},
	}
}

func showStatus(w io.Writer, s engine.Status) error {
	if !s.Running {
		_, err := fmt.Fprintf(w, "not running; it starts by itself when it is needed\nstate   %s, %s\n", s.StateDir, sizeText(s.Disk))
		return err
	}
	as := "as root"
	if s.Rootless {
		as = "rootless"
	}
	_, err := fmt.Fprintf(w, "running since %s, process %d, %s\nBuildKit %s, peak memory %s\nlistens %s\nstate   %s, %s\n",
		s.Started.UTC().Format(time.RFC3339), s.PID, as, s.BuildKit, sizeText(s.PeakRSS), s.Address, s.StateDir, sizeText(s.Disk))
	return err
}
