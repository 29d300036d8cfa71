package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"forge/internal/diag"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// The test program is also the engine it starts, as forge is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve-engine" {
		if err := Serve(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testOptions(t *testing.T) Options {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		StateDir: filepath.Join(t.TempDir(), "engine"), Exe: exe, Args: []string{"serve-engine"},
		Env: os.Environ(), UID: os.Geteuid(), Version: "test",
	}
	t.Cleanup(func() {
		if _, err := Stop(context.Background(), o); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return o
}

func start(t *testing.T, o Options) *Endpoint {
	t.Helper()
	e, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	return e
}

func dial(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := Dial(t.Context(), address, DialOptions{})
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestStartStatusStop(t *testing.T) {
	o := testOptions(t)
	o.StateDir = filepath.Join(o.StateDir, strings.Repeat("deep/", 30), "engine") // longer than a socket address
	if s, err := ReadStatus(t.Context(), o); err != nil || s.Running {
		t.Fatalf("ReadStatus before = %+v, %v", s, err)
	}
	e := start(t, o)
	if !e.Started {
		t.Error("the first Start did not start the engine")
	}
	again := start(t, o)
	if again.Started || again.PID != e.PID {
		t.Errorf("the second Start gave %+v after %+v", again, e)
	}
	s, err := ReadStatus(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Running || s.PID != e.PID || s.PeakRSS == 0 || s.Disk == 0 || s.Started.IsZero() || s.Forge != "test" {
		t.Errorf("ReadStatus = %+v", s)
	}
	if v := Version("").Version; s.BuildKit != v {
		t.Errorf("engine reports BuildKit %q, this program links %q", s.BuildKit, v)
	}
	if stopped, err := Stop(t.Context(), o); err != nil || !stopped {
		t.Fatalf("Stop = %v, %v", stopped, err)
	}
	if stopped, err := Stop(t.Context(), o); err != nil || stopped {
		t.Errorf("second Stop = %v, %v", stopped, err)
	}
	for _, name := range []string{dirtyName, socketName} {
		if _, err := os.Lstat(filepath.Join(o.StateDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s remains after a clean stop", name)
		}
	}
}

func TestOneEngineOfManyStarts(t *testing.T) {
	o := testOptions(t)
	pids := make([]int, 4)
	g, ctx := errgroup.WithContext(t.Context())
	for i := range pids {
		g.Go(func() error {
			e, err := Start(ctx, o)
			if err == nil {
				pids[i] = e.PID
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if pid != pids[0] || pid == 0 {
			t.Fatalf("engines %v, want one", pids)
		}
	}
}

func TestIdleExit(t *testing.T) {
	o := testOptions(t)
	o.IdleExit = 20 * time.Millisecond
	e := start(t, o)
	waitGone(t, o, e.PID)
	if next := start(t, o); !next.Started {
		t.Error("no new engine after the old one left")
	}
}

func waitGone(t *testing.T, o Options, pid int) {
	t.Helper()
	gone, err := released(t.Context(), o.StateDir, pid, 20*time.Second)
	if err != nil || !gone {
		t.Fatalf("engine %d is still there: %v", pid, err)
	}
}

func TestOtherVersionIsReplaced(t *testing.T) {
	o := testOptions(t)
	old := start(t, o)
	o.Version = "newer"
	e := start(t, o)
	if !e.Started || e.PID == old.PID {
		t.Errorf("Start gave %+v, the old engine was %+v", e, old)
	}
}

func TestForeignStateDirIsRefused(t *testing.T) {
	o := testOptions(t)
	if err := os.Mkdir(o.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	other := o
	other.UID++
	if _, err := Start(t.Context(), other); diag.IDOf(err) != diag.EngineStart {
		t.Errorf("Start in another user's directory: %v", err)
	}
	link := o
	link.StateDir += "-link"
	if err := os.Symlink(o.StateDir, link.StateDir); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), link); diag.IDOf(err) != diag.EngineStart {
		t.Errorf("Start through a link: %v", err)
	}
}

func TestKilledEngineRecovers(t *testing.T) {
	o := testOptions(t)
	e := start(t, o)
	first := build(t, dial(t, e.Address), treeGraph(t))
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, o, e.PID)
	next := start(t, o)
	if !next.Started {
		t.Fatal("no new engine after a kill")
	}
	c := dial(t, next.Address)
	if du, err := c.DiskUsage(t.Context()); err != nil || len(du) != 0 {
		t.Errorf("caches of a killed engine are still read: %v, %v", du, err)
	}
	if second := build(t, c, treeGraph(t)); second != first {
		t.Errorf("manifest %s after the kill, %s before", second, first)
	}
}

func TestCacheSurvivesCleanStop(t *testing.T) {
	o := testOptions(t)
	c := dial(t, start(t, o).Address)
	build(t, c, treeGraph(t))
	if _, err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	du, err := dial(t, start(t, o).Address).DiskUsage(t.Context())
	if err != nil || len(du) == 0 {
		t.Errorf("cache after a clean stop: %d records, %v", len(du), err)
	}
	freed, err := Prune(t.Context(), o)
	if err != nil || freed == 0 {
		t.Errorf("Prune = %d, %v", freed, err)
	}
}

func TestSameDigestFromFreshEngines(t *testing.T) {
	a, b := testOptions(t), testOptions(t)
	first := build(t, dial(t, start(t, a).Address), treeGraph(t))
	defer syscall.Umask(syscall.Umask(0o077))
	b.Env = append(os.Environ(), "GOMAXPROCS=1", "TZ=Asia/Tokyo")
	second := build(t, dial(t, start(t, b).Address), treeGraph(t))
	if first != second {
		t.Errorf("manifest %s and %s", first, second)
	}
}

func TestBoxShowsNothingOfTheMachine(t *testing.T) {
	o := testOptions(t)
	c := dial(t, start(t, o).Address)
	st := run(probe(t).source, llb.Args([]string{"/tool/probe", "inspect", "/out"}))
	got := readFile(t, c, st.AddMount("/out", llb.Scratch()), "seen")
	want := `host forge
pid 1
uid 0
interface lo false
root out
root tool
umask 022
mount operation not permitted
mknod operation not permitted
readonly true
exec true
`
	if got != want {
		t.Errorf("in the box:\n%s\nwant:\n%s", got, want)
	}
}

func TestOtherCommandsAreRefused(t *testing.T) {
	o := testOptions(t)
	c := dial(t, start(t, o).Address)
	tool := probe(t).source
	args := llb.Args([]string{"/tool/probe", "tree", "/out"})
	for name, opt := range map[string]llb.RunOption{
		"network":   llb.Network(llb.NetModeSandbox),
		"host":      llb.Network(llb.NetModeHost),
		"secret":    llb.AddSecret("/secret", llb.SecretOptional),
		"ssh":       llb.AddSSHSocket(llb.SSHOptional),
		"cache":     llb.AddMount("/cache", llb.Scratch(), llb.AsPersistentCacheDir("x", llb.CacheMountShared)),
		"insecure":  llb.Security(llb.SecurityModeInsecure),
		"otheruser": llb.User("1000:1000"),
		"relative":  llb.Args([]string{"probe"}),
	} {
		st := run(tool, args, opt)
		def := marshal(t, st.AddMount("/out", llb.Scratch()))
		_, err := c.Build(t.Context(), probe(t).opt(), "", func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
			return g.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		}, nil)
		if err == nil {
			t.Errorf("%s: not refused", name)
			continue
		}
		if !strings.Contains(err.Error(), "embedded engine runs only forge's layout program") && name != "host" && name != "insecure" {
			t.Errorf("%s: refused with %v", name, err)
		}
	}
}

func TestFailureAndCancel(t *testing.T) {
	o := testOptions(t)
	c := dial(t, start(t, o).Address)
	solve := func(ctx context.Context, verb string, ch chan *client.SolveStatus) error {
		def := marshal(t, run(probe(t).source, llb.Args([]string{"/tool/probe", verb, "/out"})).AddMount("/out", llb.Scratch()))
		_, err := c.Solve(ctx, def, probe(t).opt(), ch)
		return err
	}
	if err := solve(t.Context(), "nonsense", nil); err == nil || !strings.Contains(err.Error(), "exit code: 3") {
		t.Errorf("a failing program gave %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ch := make(chan *client.SolveStatus)
	go func() {
		for s := range ch {
			for _, l := range s.Logs {
				if bytes.Contains(l.Data, []byte("hanging")) {
					cancel()
				}
			}
		}
	}()
	if err := solve(ctx, "hang", ch); err == nil {
		t.Error("a cancelled solve succeeded")
	}
	if err := solve(t.Context(), "tree", nil); err != nil {
		t.Errorf("after a cancelled solve: %v", err)
	}
}

// A blob is a file handed to the engine by digest.
type blob struct {
	store  content.Store
	source llb.State
}

func (b blob) opt() client.SolveOpt {
	return client.SolveOpt{OCIStores: map[string]content.Store{"test": b.store}}
}

// probe is the stand-in for the layout program, built once.
var probe = func() func(*testing.T) blob {
	var once sync.Once
	var program []byte
	return func(t *testing.T) blob {
		t.Helper()
		once.Do(func() {
			out := filepath.Join(t.TempDir(), "probe")
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/probe")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if msg, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("building the probe: %v\n%s", err, msg)
			}
			var err error
			if program, err = os.ReadFile(out); err != nil {
				t.Fatal(err)
			}
		})
		if program == nil {
			t.Fatal("the probe could not be built")
		}
		store, err := local.NewStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		d := digest.FromBytes(program)
		err = content.WriteBlob(t.Context(), store, d.String(), bytes.NewReader(program), ocispecs.Descriptor{Digest: d, Size: int64(len(program))})
		if err != nil {
			t.Fatal(err)
		}
		return blob{store, llb.OCILayoutBlob("forge.test/probe@"+d.String(), llb.ImageBlobOCIStore("", "test"), llb.Filename("probe"), llb.Chmod(0o755))}
	}
}()

func run(tool llb.State, opts ...llb.RunOption) llb.ExecState {
	return llb.Scratch().Run(append([]llb.RunOption{
		llb.Network(llb.NetModeNone), llb.AddMount("/tool", tool, llb.Readonly),
	}, opts...)...)
}

func treeGraph(t *testing.T) llb.State {
	t.Helper()
	return run(probe(t).source, llb.Args([]string{"/tool/probe", "tree", "/out"})).AddMount("/out", llb.Scratch())
}

func marshal(t *testing.T, st llb.State) *llb.Definition {
	t.Helper()
	def, err := st.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return def
}

// build solves a state, exports it as an OCI layout and returns the manifest's digest.
func build(t *testing.T, c *client.Client, st llb.State) string {
	t.Helper()
	out := t.TempDir()
	opt := probe(t).opt()
	opt.Exports = []client.ExportEntry{{
		Type: client.ExporterOCI, OutputDir: out,
		Attrs: map[string]string{"tar": "false", "compression": "zstd", "oci-mediatypes": "true"},
	}}
	if _, err := c.Solve(t.Context(), marshal(t, st), opt, nil); err != nil {
		t.Fatalf("Solve: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispecs.Index
	if err := json.Unmarshal(b, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index %s: %v", b, err)
	}
	mb, err := os.ReadFile(filepath.Join(out, "blobs", "sha256", index.Manifests[0].Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(mb, &m); err != nil || len(m.Layers) != 1 {
		t.Fatalf("manifest %s: %v", mb, err)
	}
	return m.Layers[0].Digest.String()
}

func readFile(t *testing.T, c *client.Client, st llb.State, name string) string {
	t.Helper()
	def := marshal(t, st)
	var got []byte
	_, err := c.Build(t.Context(), probe(t).opt(), "", func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
		res, err := g.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		if err != nil {
			return nil, err
		}
		got, err = res.Ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
		return gateway.NewResult(), err
	}, nil)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return string(got)
}
