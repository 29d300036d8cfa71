package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

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
	e := start(t, o)
	c := dial(t, e.Address)
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
	if boxes := children(t, e.PID); len(boxes) != 0 {
		t.Errorf("boxes %v are left", boxes)
	}
}

func TestBoxDiesWithTheEngine(t *testing.T) {
	o := testOptions(t)
	e := start(t, o)
	box, _ := hang(t, e)
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	waitDead(t, box)
}

func TestBoxDiesWithItsClient(t *testing.T) {
	o := testOptions(t)
	e := start(t, o)
	box, c := hang(t, e)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	waitDead(t, box)
	build(t, dial(t, e.Address), treeGraph(t))
}

// hang runs a box that never ends by itself, and returns its process and the client
// that waits for it.
func hang(t *testing.T, e *Endpoint) (box string, c *client.Client) {
	t.Helper()
	def := marshal(t, run(probe(t).source, llb.Args([]string{"/tool/probe", "hang", "/out"})).AddMount("/out", llb.Scratch()))
	ch := make(chan *client.SolveStatus)
	c, opt := dial(t, e.Address), probe(t).opt()
	go func() { _, _ = c.Solve(context.WithoutCancel(t.Context()), def, opt, ch) }()
	for s := range ch {
		for _, l := range s.Logs {
			if !bytes.Contains(l.Data, []byte("hanging")) {
				continue
			}
			go func() {
				for range ch { // Solve must not block on it
				}
			}()
			boxes := children(t, e.PID)
			if len(boxes) != 1 {
				t.Fatalf("the engine has boxes %v, want one", boxes)
			}
			return boxes[0], c
		}
	}
	t.Fatal("the box did not start")
	return "", nil
}

func waitDead(t *testing.T, pid string) {
	t.Helper()
	for alive(pid) {
		if err := pause(t.Context(), pollInterval); err != nil {
			t.Fatal(err)
		}
	}
}

func children(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("children of %d: %v, %v", pid, files, err)
	}
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}

// alive is false for a process that is gone or only waits to be reaped.
func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// TestGraph covers what forge's graphs are made of: boxes over boxes, content fetched
// by digest, merged layers, in each compression.
func TestGraph(t *testing.T) {
	o := testOptions(t)
	c := dial(t, start(t, o).Address)
	body := []byte("fetched\n")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer srv.Close()
	fetched := llb.HTTP(srv.URL+"/f", llb.Checksum(digest.FromBytes(body)), llb.Filename("f"))
	base := treeGraph(t)
	over := run(probe(t).source, llb.Args([]string{"/tool/probe", "copy", "/in/0/etc/open", "/in/1/f", "/out"}),
		llb.AddMount("/in/0", base, llb.Readonly), llb.AddMount("/in/1", fetched, llb.Readonly)).AddMount("/out", llb.Scratch())
	merged := llb.Merge([]llb.State{base, over})
	if got, want := readFile(t, c, merged, "copied"), "made under the box's umask\nfetched\n"; got != want {
		t.Errorf("merged file holds %q, want %q", got, want)
	}
	diffIDs := ""
	for _, compression := range []string{"zstd", "gzip", "uncompressed"} {
		m, cfg := export(t, c, merged, compression)
		if len(m.Layers) != 2 || len(cfg.RootFS.DiffIDs) != 2 {
			t.Fatalf("%s: layers %v of %v", compression, m.Layers, cfg.RootFS.DiffIDs)
		}
		ids := fmt.Sprint(cfg.RootFS.DiffIDs)
		if diffIDs != "" && ids != diffIDs {
			t.Errorf("%s: contents %s, want %s", compression, ids, diffIDs)
		}
		diffIDs = ids
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
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "testdata/probe/main.go")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off") // standard library only
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

// build solves a state of one layer and returns the layer's digest.
func build(t *testing.T, c *client.Client, st llb.State) string {
	t.Helper()
	m, _ := export(t, c, st, "zstd")
	if len(m.Layers) != 1 {
		t.Fatalf("layers %v, want one", m.Layers)
	}
	return m.Layers[0].Digest.String()
}

// export solves a state into an OCI layout and reads its manifest and configuration.
func export(t *testing.T, c *client.Client, st llb.State, compression string) (m ocispecs.Manifest, cfg ocispecs.Image) {
	t.Helper()
	out := t.TempDir()
	opt := probe(t).opt()
	opt.Exports = []client.ExportEntry{{
		Type: client.ExporterOCI, OutputDir: out,
		Attrs: map[string]string{"tar": "false", "compression": compression, "force-compression": "true", "oci-mediatypes": "true"},
	}}
	if _, err := c.Solve(t.Context(), marshal(t, st), opt, nil); err != nil {
		t.Fatalf("Solve: %v", err)
	}
	var index ocispecs.Index
	decode(t, filepath.Join(out, "index.json"), &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("index of %d manifests, want one", len(index.Manifests))
	}
	decode(t, filepath.Join(out, "blobs/sha256", index.Manifests[0].Digest.Encoded()), &m)
	decode(t, filepath.Join(out, "blobs/sha256", m.Config.Digest.Encoded()), &cfg)
	return m, cfg
}

func decode(t *testing.T, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
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
