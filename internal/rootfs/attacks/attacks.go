// Package attacks is what hostile package files try, as data, and the one way to run
// it: against the real layout, into a directory with something to hit beside it.
//
// The table is the extraction corpus of the field: rows X1 to X11 from the tests and
// advisories of tar extractors, A22 from dpkg's own tests of its format. An attack is
// beaten when the layout refuses it under the right error id and nothing outside the
// output directory is touched. Cases that want no error show what must still work.
package attacks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"forge/internal/diag"
	"forge/internal/rootfs"
)

// Case is one attack.
type Case struct {
	ID    string  // the row: "X4" and the like
	Title string  // what the package does
	Want  diag.ID // error that must come of it; "" where the layout must succeed

	packages [][]byte // package files of one layer
	drop     map[string][]string
}

// Result is what came of one attack.
type Result struct {
	Case
	Got     diag.ID // the error's id
	Err     error   // what forge said
	Escaped string  // a path outside the output that appeared or changed; "" when none did
}

// Passed tells whether the attack was beaten.
func (r Result) Passed() bool {
	return r.Got == r.Want && (r.Err == nil) == (r.Want == "") && r.Escaped == ""
}

// Run runs every case in a directory of its own below dir, in order.
func Run(dir string) ([]Result, error) {
	var all []Result
	for i, c := range Cases() {
		r, err := run(c, filepath.Join(dir, fmt.Sprintf("case-%03d", i+1)))
		if err != nil {
			return all, fmt.Errorf("preparing attack %s, %s: %w", c.ID, c.Title, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// workers is how many packages are read at once; two, so that conflicts can race.
const workers = 2

func run(c Case, dir string) (Result, error) {
	out := filepath.Join(dir, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return Result{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "victim"), []byte("untouched"), 0o600); err != nil {
		return Result{}, err
	}
	disk, err := rootfs.NewDisk(out, workers)
	if err != nil {
		return Result{}, err
	}
	err = lay(c, disk)
	escaped, checkErr := escaped(dir)
	return Result{Case: c, Got: diag.IDOf(err), Err: err, Escaped: escaped}, checkErr
}

// lay lays the case's packages out as the build does.
func lay(c Case, sink rootfs.Sink) error {
	files := map[string][]byte{}
	plan := &rootfs.Plan{Version: rootfs.PlanVersion, Drop: c.drop}
	for i, data := range c.packages {
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		files[name] = data
		plan.Packages = append(plan.Packages, rootfs.PlanPackage{Name: fmt.Sprintf("package%d", i+1), Arch: "all", SHA256: name})
	}
	in := func(name string) (rootfs.Input, error) { return input{bytes.NewReader(files[name])}, nil }
	_, err := rootfs.Lay(plan, in, nil, sink, workers)
	return err
}

type input struct{ *bytes.Reader }

func (input) Close() error { return nil }

// escaped finds what the layout did beside its output directory.
func escaped(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name() != "out" && e.Name() != "victim" {
			return e.Name(), nil
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "victim"))
	if err != nil {
		return "victim", nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "victim"))
	if err != nil || string(data) != "untouched" || info.Mode() != 0o600 {
		return "victim", nil
	}
	return "", nil
}
