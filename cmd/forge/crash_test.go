package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"forge/internal/registry/registrytest"
)

// signalled runs a forge until hook's trap springs, sends it a signal at that moment,
// and gives how it ended. The request that sprang the trap is never answered.
func (s *site) signalled(sig syscall.Signal, set func(trap func()), args ...string) result {
	s.t.Helper()
	cmd, stdout, stderr := s.command(args...)
	ended := make(chan struct{})
	var once sync.Once
	started := make(chan struct{})
	set(func() {
		<-started
		once.Do(func() { _ = cmd.Process.Signal(sig) })
		<-ended
	})
	s.check(cmd.Start())
	close(started)
	_ = cmd.Wait() // the exit code tells
	close(ended)
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// atArchive springs the trap at the request after n others.
func (s *site) atArchive(n int) func(trap func()) {
	return func(trap func()) {
		var mu sync.Mutex
		seen := 0
		s.server.SetHook(func(http.ResponseWriter, *http.Request) bool {
			mu.Lock()
			seen++
			late := seen > n
			mu.Unlock()
			if late {
				trap()
			}
			return late
		})
	}
}

// atRegistry springs the trap at the request of a kind after n others.
func (s *site) atRegistry(method, path string, n int) func(trap func()) {
	return func(trap func()) {
		s.registry.Add(registrytest.Fault{Method: method, Path: path, After: n, Serve: func(_ http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
			trap()
			panic(http.ErrAbortHandler)
		}})
	}
}

func TestLockKilledAtEachRequestIsTheOldOne(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("lock", "family")
	s.check(s.publish("v2"))
	old := s.state()
	s.server.Requests()
	s.run("lock", "--check", "family", "--cache-dir", s.cached("other"))
	requests := len(s.server.Requests())
	if requests < 5 {
		t.Fatalf("only %d requests for a lock", requests)
	}
	for n := range requests {
		s.check(os.RemoveAll(s.cached("archive")))
		s.check(os.RemoveAll(s.cached("packages")))
		if r := s.signalled(syscall.SIGKILL, s.atArchive(n), "lock", "--update", "family"); r.code != -1 {
			t.Fatalf("request %d: exit code %d, want to be killed\n%s", n, r.code, r.stderr)
		}
		if got := s.state(); got != old {
			t.Fatalf("killed at request %d: the directory changed:\n%s\nwas\n%s", n, got, old)
		}
	}
	s.server.SetHook(nil)
	s.must("lock", "--update", "family")
	s.must("lock", "--check", "family")
}

func TestPublishKilledAtAWriteIsFinishedByARerun(t *testing.T) {
	t.Parallel()
	s := newSmallSite(t)
	s.must("lock", "family")
	s.must("keys", "generate", "-q")
	publish := func() []string {
		return []string{"publish", "family", "--to", s.registry.Host() + "/golden", "--key", "cosign.key", "-q"}
	}
	s.startRegistry()
	s.must(publish()...)
	tags := fmt.Sprint(imageTags(s.registry))
	writes := s.registry.Requests()
	for _, w := range []struct {
		method, path string
		every        int // blobs are many and much the same
	}{
		{http.MethodPut, "/manifests/", 1},
		{http.MethodPut, "/blobs/", 5},
		{http.MethodPatch, "/blobs/", 7},
	} {
		n := 0
		for _, r := range writes {
			if strings.HasPrefix(r, w.method+" ") && strings.Contains(r, w.path) {
				n++
			}
		}
		if n < 8 {
			t.Fatalf("publishing made only %d %s of %s", n, w.method, w.path)
		}
		for i := 0; i < n; i += w.every {
			s.registry.Close()
			s.startRegistry()
			if r := s.signalled(syscall.SIGKILL, s.atRegistry(w.method, w.path, i), publish()...); r.code != -1 {
				t.Fatalf("%s %d: exit code %d, want to be killed\n%s", w.method, i, r.code, r.stderr)
			}
			s.registry.Mend()
			if half := imageTags(s.registry); len(half) > 0 { // tags come last: what they name is whole
				s.must("verify", s.registry.Host()+"/golden/base:"+fixedTag(half), "--key", "cosign.pub")
			}
			s.must(publish()...)
			if got := fmt.Sprint(imageTags(s.registry)); got != tags {
				t.Errorf("killed at %s %d: tags %s, want %s", w.method, i, got, tags)
			}
		}
	}
	whole := s.registry.State()
	s.must(publish()...)
	if got := s.registry.State(); got != whole {
		t.Errorf("a second rerun changed the registry:\n%s\nwas\n%s", got, whole)
	}
	s.must("verify", s.registry.Host()+"/golden/base:1.0.0", "--key", "cosign.pub")
}

// imageTags are the tags for people: without the evidence's.
func imageTags(r *registrytest.Registry) map[string]string {
	tags := r.Tags("golden/base")
	for name := range tags {
		if strings.HasPrefix(name, "sha256-") {
			delete(tags, name)
		}
	}
	return tags
}

// fixedTag is the tag that never moves, which is the first.
func fixedTag(tags map[string]string) string {
	for name := range tags {
		if strings.HasPrefix(name, "1.0.0-") {
			return name
		}
	}
	return "no fixed tag"
}

func TestInterruptedCommandsLeaveNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	interrupted := func(set func(func()), args ...string) {
		t.Helper()
		before := s.state()
		r := s.signalled(syscall.SIGINT, set, args...)
		if r.code != 130 {
			t.Errorf("forge %v: exit code %d, want 130\n%s", args, r.code, r.stderr)
		}
		if !strings.Contains(r.stderr, "forge: interrupted") {
			t.Errorf("forge %v: want to be told of the interruption, got\n%s", args, r.stderr)
		}
		if after := s.state(); after != before {
			t.Errorf("forge %v changed\n%s\nto\n%s", args, before, after)
		}
		s.noLeftovers()
	}
	interrupted(s.atArchive(0), "lock", "family")
	interrupted(s.atArchive(4), "lock", "family")
	s.server.SetHook(nil)
	s.must("lock", "family")
	s.must("keys", "generate", "-q")

	s.check(os.RemoveAll(s.cached("archive"))) // so that the engine's inputs are fetched again
	interrupted(s.atArchive(2), "build", "family", "-o", "out")
	s.server.SetHook(nil)
	s.must("build", "family", "-o", "out")

	s.startRegistry()
	publish := []string{"publish", "family", "-q", "--to", s.registry.Host() + "/golden", "--key", "cosign.key"}
	interrupted(s.atRegistry(http.MethodHead, "", 0), publish...)
	s.registry.Mend()
	for _, n := range []int{1, 8} { // an image, and some evidence, are there already
		if r := s.signalled(syscall.SIGINT, s.atRegistry(http.MethodPut, "/manifests/", n), publish...); r.code != 130 {
			t.Errorf("publish interrupted at manifest %d: exit code %d, want 130\n%s", n, r.code, r.stderr)
		}
		if tags := imageTags(s.registry); len(tags) > 0 {
			t.Errorf("publish interrupted at manifest %d: tags %v", n, tags)
		}
		s.noLeftovers()
		s.registry.Mend()
	}
	s.must(publish...)
	s.noLeftovers()
}

func TestEngineKilledDuringABuild(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("lock", "family")
	want := s.must("build", "family", "-o", "out1")
	var status struct{ PID int }
	s.check(json.Unmarshal([]byte(s.must("engine", "status", "--format", "json")), &status))
	s.check(os.RemoveAll(s.cached("archive")))
	s.check(os.RemoveAll(s.cached("layers")))
	s.must("engine", "prune")
	var once sync.Once
	s.server.SetHook(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { s.check(syscall.Kill(status.PID, syscall.SIGKILL)) })
		return false
	})
	s.refuses(1, "FE403 FE404", "build", "family", "-o", "out2")
	s.server.SetHook(nil)
	s.noLeftovers()
	if got := s.must("build", "family", "-o", "out2"); got != want {
		t.Errorf("after the engine's end a build gave\n%s\nwant\n%s", got, want)
	}
}
