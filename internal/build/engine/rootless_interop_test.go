//go:build interop

package engine

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
)

// rootlessUser must exist, with subordinate ids; `useradd forge-rootless` makes it so
// where login.defs gives them out.
const rootlessUser = "forge-rootless"

// TestRootlessGivesTheSameLayer runs this package's other tests as an unprivileged
// user, and compares the layer they built with root's.
func TestRootlessGivesTheSameLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("comparing root's layer with a user's needs root")
	}
	u, err := user.Lookup(rootlessUser)
	if err != nil {
		t.Fatalf("make the user first: %v", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	dir, err := os.MkdirTemp("", "forge-rootless-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, step := range [][]string{
		{"cp", os.Args[0], filepath.Join(dir, "engine.test")}, {"cp", "-r", "testdata", dir},
		{"chown", "-R", u.Uid + ":" + u.Gid, dir}, {"chmod", "-R", "go+rX", dir},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", step, err, out)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "engine.test"), "-test.v", "-test.skip=^TestRootless")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tests as %s: %v\n%s", rootlessUser, err, out)
	}
	line := regexp.MustCompile(`layer sha256:[0-9a-f]{64}`).Find(out)
	o := testOptions(t)
	if want := "layer " + build(t, dial(t, start(t, o).Address), treeGraph(t)); string(line) != want {
		t.Errorf("rootless: %q, root: %q", line, want)
	}
}
