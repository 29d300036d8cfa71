package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"forge/internal/archive/archivetest"
	"forge/internal/lock"
	"forge/internal/registry/registrytest"
)

// world is what surrounds the forge of one test: archive and registry on loopback.
type world struct {
	cache    string
	key      *archivetest.Key
	server   *archivetest.Server
	registry *registrytest.Registry
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// publish puts the packages of testdata/archives/NAME.json into the world's archive,
// starting it first where it does not run.
func (w *world) publish(name string) error {
	packages, err := readPackages(name)
	if err != nil {
		return err
	}
	if w.server == nil {
		if w.server, err = archivetest.Serve(); err != nil {
			return err
		}
		w.key = archivetest.NewKey("Test", clock.AddDate(0, -1, 0), archivetest.KeyOptions{})
	}
	number, err := strconv.Atoi(strings.TrimPrefix(name, "v"))
	if err != nil {
		return fmt.Errorf("archive %q is not v1, v2, ...: %w", name, err)
	}
	files := archivetest.Files{}
	files.Add(archivetest.Suite{
		Name: "stable", Version: "1." + strconv.Itoa(number), Date: clock.AddDate(0, 0, number-10),
		Packages: packages, Keys: []*archivetest.Key{w.key},
	})
	w.server.Put("test", files)
	return nil
}

func readPackages(name string) ([]archivetest.Package, error) {
	data, err := os.ReadFile(filepath.Join(sources, "testdata", "archives", name+".json"))
	if err != nil {
		return nil, err
	}
	var packages []archivetest.Package
	return packages, json.Unmarshal(data, &packages)
}

// sources is the directory of these tests; scripts run elsewhere.
var sources = func() string { dir, _ := os.Getwd(); return dir }()

// mirror is the value of FORGE_DEB_MIRROR.
func (w *world) mirror() string { return "test=" + w.server.Root("test") }

func (w *world) startRegistry() {
	w.registry = registrytest.New(registrytest.Options{Referrers: true})
}

func (w *world) close() {
	if w.server != nil {
		w.server.Close()
	}
	if w.registry != nil {
		w.registry.Close()
	}
}

// scrub replaces what is new in every run by words.
func (w *world) scrub(dir, text string) string {
	pairs := []string{dir, "$WORK", w.cache, "$CACHE"}
	if w.server != nil {
		pairs = append(pairs, w.server.URL, "$MIRROR", w.key.Fingerprint(), "$FINGERPRINT")
	}
	if w.registry != nil {
		pairs = append(pairs, w.registry.Host(), "$REGISTRY")
	}
	return keyFingerprint.ReplaceAllString(strings.NewReplacer(pairs...).Replace(text), "$1 $$KEY")
}

var keyFingerprint = regexp.MustCompile(`(fingerprint is|key) sha256:[0-9a-f]{64}`)

// cmdArchive starts the archive or changes it: "archive v1". The keyring goes to the
// family's templates.
func cmdArchive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: archive NAME")
	}
	w := worldOf(ts)
	first := w.server == nil
	ts.Check(w.publish(args[0]))
	if !first {
		return
	}
	ts.Defer(w.close)
	ts.Setenv("FORGE_DEB_MIRROR", w.mirror())
	ts.Check(os.WriteFile(ts.MkAbs("family/archive.asc"), archivetest.Keyring(w.key), 0o644))
}

// cmdRegistry starts a registry and sets $REGISTRY; or "registry state FILE" writes down
// what it holds, "registry tags FILE" its tags alone, and "registry die N" lets N more
// requests through, "registry revive" all again.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch {
	case neg:
		ts.Fatalf("unsupported: ! registry")
	case len(args) == 0:
		w.startRegistry()
		ts.Setenv("REGISTRY", w.registry.Host())
	case len(args) == 2 && args[0] == "state":
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(w.registry.State()), 0o644))
	case len(args) == 2 && args[0] == "die":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		w.registry.DieAfter(n, false)
	case len(args) == 1 && args[0] == "revive":
		w.registry.Revive()
	default:
		ts.Fatalf("usage: registry [state FILE | die N | revive]")
	}
}

// cmdExits runs a command and holds it to an exit code: "exits 3 forge lock --check".
// What it printed goes to the files out and err, without what is new in every run.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	w := worldOf(ts)
	for name, file := range map[string]string{"stdout": "out", "stderr": "err"} {
		text := w.scrub(ts.Getenv("WORK"), ts.ReadFile(name))
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), file), []byte(text), 0o644))
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdJSON holds a file (or stdout) to be one JSON object of version 1, and prints it
// with one member a line into the file json.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: json FILE")
	}
	var head struct{ Version int }
	text := ts.ReadFile(args[0])
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		ts.Fatalf("%s is not JSON: %v", args[0], err)
	}
	if head.Version != 1 {
		ts.Fatalf("%s has version %d, want 1", args[0], head.Version)
	}
}

// cmdEdit replaces the first match of a regular expression in a file. In the
// replacement @1 stands for the first group.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE REGEXP REPLACEMENT")
	}
	text := ts.ReadFile(args[0])
	pattern := regexp.MustCompile(args[1])
	match := pattern.FindStringSubmatchIndex(text)
	if match == nil {
		ts.Fatalf("nothing in %s matches %q", args[0], args[1])
	}
	text = string(pattern.ExpandString([]byte(text[:match[0]]), strings.ReplaceAll(args[2], "@", "$"), text, match)) + text[match[1]:]
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// cmdFiles lists the files below a directory, with their contents' hashes, into a file:
// "files DIR LIST". Equal trees give equal lists.
func cmdFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: files DIR LIST")
	}
	list, err := listFiles(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(list), 0o644))
}

// cmdGraft gives the lock of one directory what the builds of another gave:
// "graft FROM TO".
func cmdGraft(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: graft FROM TO")
	}
	from, err := lock.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	to, err := lock.ReadDir(ts.MkAbs(args[1]))
	ts.Check(err)
	to.Expected = from.Expected
	ts.Check(lock.WriteDir(ts.MkAbs(args[1]), to))
}

// listFiles describes every file below a directory, one a line, by name, mode and
// content. A directory that is not there is an empty one.
func listFiles(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == dir {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		fmt.Fprintf(&b, "%s %s\n", rel, archivetest.SHA256(data))
		return err
	})
	return b.String(), err
}
