package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// clock is what every forge of these tests takes for the time, unless FORGE_TEST_NOW
// says otherwise.
var clock = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// The test program is also the forge that scripts run, and the engine that it starts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"forge": func() { os.Exit(process(testNow)) }})
}

func testNow() time.Time {
	if t, err := time.Parse(time.RFC3339, os.Getenv("FORGE_TEST_NOW")); err == nil {
		return t
	}
	return clock
}

// TestScripts runs every script of testdata/script in a directory of its own, which
// holds the templates of testdata/family. With UPDATE set, what scripts compare with is
// rewritten to what forge prints.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"archive":  cmdArchive,
			"registry": cmdRegistry,
			"exits":    cmdExits,
			"json":     cmdJSON,
			"edit":     cmdEdit,
			"files":    cmdFiles,
			"graft":    cmdGraft,
		},
	})
}

func setupScript(e *testscript.Env) error {
	if err := os.CopyFS(filepath.Join(e.WorkDir, "family"), os.DirFS("testdata/family")); err != nil {
		return err
	}
	cache, err := os.MkdirTemp("", "forge-test-")
	if err != nil {
		return err
	}
	for name, value := range testEnvironment(cache) {
		e.Setenv(name, value)
	}
	e.Values[worldKey{}] = &world{cache: cache}
	e.Defer(func() {
		stopEngine(cache)
		os.RemoveAll(cache)
	})
	return nil
}

// testEnvironment is what forge sees in these tests, beside PATH.
func testEnvironment(cache string) map[string]string {
	return map[string]string{
		"HOME": cache, "TMPDIR": cache, "FORGE_CACHE": filepath.Join(cache, "c"),
		"FORGE_PROGRESS": "quiet", "COSIGN_PASSWORD": "test", "NO_PROXY": "*",
	}
}

// stopEngine ends the engine of a test's cache, if there is one.
func stopEngine(cache string) {
	cmd := exec.Command("forge", "engine", "stop", "--quiet", "--cache-dir", filepath.Join(cache, "c"))
	cmd.Env = append(os.Environ(), "HOME="+cache)
	_ = cmd.Run() // what matters is in the test
}
