// Command probe stands in for forge's layout program in the engine's tests: it writes
// files that show what the box is like.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(3)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "tree":
		return tree(args[0])
	case "inspect":
		return inspect(args[0])
	case "copy":
		return join(args)
	case "hang":
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	}
	return errors.New("unknown verb")
}

// tree makes a small tree with every property a layer keeps.
func tree(out string) error {
	at := time.Unix(1700000000, 0)
	if err := os.MkdirAll(out+"/etc/deep", 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(out+"/etc/open", []byte("made under the box's umask\n"), 0o666); err != nil {
		return err
	}
	if err := os.WriteFile(out+"/etc/shadow", []byte("root:*::0:99999:7:::\n"), 0o640); err != nil {
		return err
	}
	if err := os.Chown(out+"/etc/shadow", 0, 42); err != nil {
		return err
	}
	if err := os.Chown(out+"/etc/deep", 1000, 65534); err != nil {
		return err
	}
	if err := os.Chmod(out+"/etc/deep", 0o775|os.ModeSetgid); err != nil {
		return err
	}
	for _, p := range []string{"/etc/open", "/etc/shadow", "/etc/deep", "/etc", ""} {
		if err := os.Chtimes(out+p, at, at); err != nil {
			return err
		}
	}
	fmt.Println("tree made")
	return nil
}

// join writes the contents of all files but the last argument into <last>/copied.
func join(args []string) error {
	var all []byte
	last := len(args) - 1
	for _, name := range args[:last] {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	return os.WriteFile(args[last]+"/copied", all, 0o644)
}

// inspect writes what the program can see and do.
func inspect(out string) error {
	var b strings.Builder
	host, _ := os.Hostname()
	fmt.Fprintf(&b, "host %s\npid %d\nuid %d\n", host, os.Getpid(), os.Getuid())
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		fmt.Fprintf(&b, "interface %s %v\n", i.Name, i.Flags&net.FlagUp != 0)
	}
	top, _ := os.ReadDir("/")
	for _, e := range top {
		fmt.Fprintf(&b, "root %s\n", e.Name())
	}
	fmt.Fprintf(&b, "umask %03o\n", syscall.Umask(0))
	fmt.Fprintf(&b, "mount %v\n", syscall.Mount("", "/", "", syscall.MS_REMOUNT, ""))
	fmt.Fprintf(&b, "mknod %v\n", syscall.Mknod(out+"/dev", syscall.S_IFCHR|0o600, 1<<8|3))
	fmt.Fprintf(&b, "readonly %v\n", errors.Is(os.WriteFile("/tool/x", nil, 0o600), syscall.EROFS))
	fmt.Fprintf(&b, "exec %v\n", exec.Command("/bin/sh").Run() != nil)
	return os.WriteFile(out+"/seen", []byte(b.String()), 0o644)
}
