package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"forge/internal/diag"
)

// usageError is wrong usage of the command line, found by forge or by cobra.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

// exitCode maps an error to the process's exit code; the table is in every help text.
func exitCode(ctx context.Context, err error) int {
	var usage usageError
	var findings *diag.Findings
	switch {
	case err == nil:
		return diag.ExitClean
	case ctx.Err() != nil:
		return diag.ExitInterrupted
	case errors.As(err, &usage):
		return diag.ExitUsage
	case errors.As(err, &findings):
		return findings.Exit
	}
	if id := diag.IDOf(err); id != "" {
		return diag.Lookup(id).Exit
	}
	return diag.ExitFailed
}

// report prints an error for a person: what happened, its id, and what to do next.
// command is the one that met it.
func report(w io.Writer, ctx context.Context, command string, err error) {
	var usage usageError
	var coded *diag.Error
	switch {
	case err == nil:
		return
	case ctx.Err() != nil:
		fmt.Fprintln(w, "forge: interrupted; what was finished is kept, run the command again to go on")
		return
	case errors.As(err, &usage):
		fmt.Fprintf(w, "forge: %s\n  next: See `%s --help`.\n", clean(err.Error()), command)
		return
	case errors.As(err, &coded):
		fmt.Fprintf(w, "forge: %s: %s\n", coded.ID, clean(err.Error()))
		fmt.Fprintf(w, "  next: %s\n", clean(coded.NextStep()))
	default:
		fmt.Fprintf(w, "forge: %s\n", clean(err.Error()))
	}
}

// clean keeps control and invisible characters of hostile input off the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
