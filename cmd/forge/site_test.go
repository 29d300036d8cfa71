package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"forge/internal/archive/archivetest"
)

// site is a directory of templates with an archive, a cache and, once it is started, a
// registry of its own.
type site struct {
	world
	t   *testing.T
	dir string   // where forge runs; templates are in family, keys in cosign.key
	env []string // of forge
}

// newSite makes a site for the archive v1 with the templates of testdata/family.
func newSite(t *testing.T) *site {
	t.Helper()
	cache, err := os.MkdirTemp("", "forge-test-") // short: the engine's socket lies below
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: t.TempDir(), world: world{cache: cache}}
	t.Cleanup(func() {
		stopEngine(cache)
		s.close()
		os.RemoveAll(cache)
	})
	s.check(s.publish("v1"))
	s.check(os.CopyFS(s.path("family"), os.DirFS(filepath.Join("testdata", "family"))))
	s.check(os.WriteFile(s.path("family/archive.asc"), archivetest.Keyring(s.key), 0o644))
	s.env = []string{"PATH=" + os.Getenv("PATH"), "FORGE_DEB_MIRROR=" + s.mirror()}
	for name, value := range testEnvironment(cache) {
		s.env = append(s.env, name+"="+value)
	}
	return s
}

// newSmallSite has one template for one platform, for what is done very often.
func newSmallSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.check(os.Remove(s.path("family/hello.forge.hcl")))
	template := s.path("family/base.forge.hcl")
	text, err := os.ReadFile(template)
	s.check(err)
	s.check(os.WriteFile(template, bytes.Replace(text, []byte(`, "linux/arm64"`), nil, 1), 0o644))
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// result is how one forge ended.
type result struct {
	code           int // -1 where a signal ended it
	stdout, stderr string
}

// command is a forge that is not started yet.
func (s *site) command(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.Command("forge", args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &stdout, &stderr
	return cmd, &stdout, &stderr
}

// run runs a forge to its end.
func (s *site) run(args ...string) result {
	s.t.Helper()
	cmd, stdout, stderr := s.command(args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a forge that has to succeed, and gives its output.
func (s *site) must(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("forge %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// state is everything outside the cache that a forge may change: the directory of the
// site, and what the registry holds.
func (s *site) state() string {
	s.t.Helper()
	list, err := listFiles(s.dir)
	s.check(err)
	if s.registry != nil {
		list += s.registry.State()
	}
	return list
}

// refuses runs a forge that has to fail with an exit code and one of the error ids
// (separated by spaces), and to leave everything as it is.
func (s *site) refuses(code int, ids string, args ...string) {
	s.t.Helper()
	before := s.state()
	r := s.run(args...)
	if r.code != code {
		s.t.Errorf("forge %s: exit code %d, want %d\n%s", strings.Join(args, " "), r.code, code, r.stderr)
	}
	said := func(id string) bool { return strings.Contains(r.stderr, "forge: "+id) }
	if ids != "" && !slices.ContainsFunc(strings.Fields(ids), said) {
		s.t.Errorf("forge %s: want %s, got\n%s", strings.Join(args, " "), ids, r.stderr)
	}
	if after := s.state(); after != before {
		s.t.Errorf("forge %s changed what it should not have:\n--- before\n%s\n--- after\n%s", strings.Join(args, " "), before, after)
	}
}

// cached is a directory of the cache.
func (s *site) cached(name string) string { return filepath.Join(s.cache, "c", name) }

// noLeftovers looks for temporary files where a forge that ended by itself leaves none.
func (s *site) noLeftovers() {
	s.t.Helper()
	for _, pattern := range []string{
		s.path(".*"), s.path("*/.*"), s.cached("publish-*"), s.cached("layers/tmp/*"),
		s.cached("archive/tmp/*"), s.cached("packages/*/*/.new-*"),
	} {
		names, err := filepath.Glob(pattern)
		s.check(err)
		if len(names) > 0 {
			s.t.Errorf("left over: %q", names)
		}
	}
}
