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

// atRegistry springs the trap at the writing request after n others.
func (s *site) atRegistry(method string, n int) func(trap func()) {
	return func(trap func()) {
		s.registry.Add(registrytest.Fault{Method: method, After: n, Serve: func(_ http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
			trap()
			panic(http.ErrAbortHandler)
		}})
	}
}

func TestLockKilledAtEachRequestIsTheOldOne(t *testing.T) {
	s := newSite(t, "")
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

func TestPublishKilledAtEachWriteIsFinishedByARerun(t *testing.T) {
	s := newSite(t, "base")
	s.must("lock", "family")
	s.must("keys", "generate", "-q")
	publish := func() []string {
		return []string{"publish", "family", "--to", s.registry.Host() + "/golden", "--key", "cosign.key", "-q"}
	}
	s.startRegistry()
	s.must(publish()...)
	tags := fmt.Sprint(imageTags(s.registry))
	writes := map[string]int{}
	for _, r := range s.registry.Requests() {
		method, _, _ := strings.Cut(r, " ")
		writes[method]++
	}
	for _, method := range []string{http.MethodPatch, http.MethodPut} {
		if writes[method] == 0 {
			t.Fatalf("publishing made no %s: %v", method, writes)
		}
		for n := range writes[method] {
			s.registry.Close()
			s.startRegistry()
			if r := s.signalled(syscall.SIGKILL, s.atRegistry(method, n), publish()...); r.code != -1 {
				t.Fatalf("%s %d: exit code %d, want to be killed\n%s", method, n, r.code, r.stderr)
			}
			s.registry.Mend()
			half := imageTags(s.registry)
			if len(half) > 0 { // tags come last: what they name is whole
				s.must("verify", s.registry.Host()+"/golden/base@"+half["1.0.0-"+short(half)], "--key", "cosign.pub")
			}
			s.must(publish()...)
			if got := fmt.Sprint(imageTags(s.registry)); got != tags {
				t.Errorf("killed at %s %d: tags %s, want %s", method, n, got, tags)
			}
			whole := s.registry.State()
			if n%4 == 0 {
				s.must(publish()...)
				if got := s.registry.State(); got != whole {
					t.Errorf("killed at %s %d: a second rerun still changed the registry", method, n)
				}
			}
		}
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

// short is what a fixed tag ends with.
func short(tags map[string]string) string {
	for _, digest := range tags {
		return strings.TrimPrefix(digest, "sha256:")[:12]
	}
	return ""
}

func TestInterruptedCommandsLeaveNothing(t *testing.T) {
	s := newSite(t, "")
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
	for n := range 12 {
		interrupted(func(trap func()) {
			s.registry.Mend()
			s.registry.Add(registrytest.Fault{Method: http.MethodHead, After: 0, Serve: func(_ http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
				trap()
				panic(http.ErrAbortHandler)
			}})
		}, "publish", "family", "-q", "--to", s.registry.Host()+"/golden", "--key", "cosign.key")
		if n > 0 {
			break
		}
	}
	s.registry.Mend()
	s.must("publish", "family", "-q", "--to", s.registry.Host()+"/golden", "--key", "cosign.key")
	s.noLeftovers()
}

func TestEngineKilledDuringABuild(t *testing.T) {
	s := newSite(t, "")
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
