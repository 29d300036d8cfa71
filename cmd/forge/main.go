// Command forge makes golden container images and keeps them so.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"
)

func main() { os.Exit(process(time.Now)) }

// process is the whole program but for its clock, and gives its exit code.
func process(now func() time.Time) int {
	// Libraries' asides: forge itself never uses these.
	log.SetOutput(io.Discard)
	logrus.SetOutput(io.Discard)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exe, _ := os.Executable()
	return run(ctx, &env{
		stdin:     os.Stdin,
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		lookupenv: os.LookupEnv,
		now:       now,
		exe:       exe,
		terminal:  term.IsTerminal(int(os.Stderr.Fd())),
	}, os.Args[1:])
}
