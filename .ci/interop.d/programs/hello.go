// A static program that needs what the static image promises: certificates, time zones,
// accounts, and a place to write.
package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/user"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return err
	}
	if roots.Equal(x509.NewCertPool()) {
		return fmt.Errorf("no certificates")
	}
	zone, err := time.LoadLocation("Asia/Kathmandu")
	if err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	fmt.Printf("Hello from Go as %s of %s, %s\n", me.Username, me.HomeDir, time.Unix(0, 0).In(zone))
	return nil
}
