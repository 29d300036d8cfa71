package evidence

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"forge/internal/attest"
	"forge/internal/attest/key"
	"forge/internal/diag"
	"forge/internal/registry"
	"forge/internal/registry/registrytest"
)

// testKeys makes two key pairs once; sealing them is slow by design.
var testKeys = sync.OnceValues(func() (pair [2]*key.Private, err error) {
	password := func(bool) ([]byte, error) { return []byte("secret"), nil }
	dir, err := os.MkdirTemp("", "forge-keys-")
	if err != nil {
		return pair, err
	}
	defer os.RemoveAll(dir)
	for i := range pair {
		prefix := filepath.Join(dir, fmt.Sprintf("pair%d", i))
		if _, err := key.Generate(prefix, password); err != nil {
			return pair, err
		}
		if pair[i], err = key.LoadPrivate(prefix+".key", password); err != nil {
			return pair, err
		}
	}
	return pair, nil
})

func keys(t *testing.T) (ours, theirs *key.Private) {
	t.Helper()
	pair, err := testKeys()
	if err != nil {
		t.Fatal(err)
	}
	return pair[0], pair[1]
}

// bench is a registry with one published index of two images.
type bench struct {
	t      *testing.T
	server *registrytest.Registry
	client *registry.Client
	repo   name.Repository
	index  name.Digest
	images []name.Digest // amd64, arm64
	sboms  [][]byte
}

// newClient is a registry client that knows no login and never really sleeps.
func newClient(t *testing.T) *registry.Client {
	t.Helper()
	c, err := registry.New(registry.Options{
		Keychain: authn.NewMultiKeychain(), Tries: 1,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newBench(t *testing.T, referrers bool) *bench {
	t.Helper()
	b := &bench{t: t, server: registrytest.New(registrytest.Options{Referrers: referrers}), client: newClient(t)}
	t.Cleanup(b.server.Close)
	var err error
	if b.repo, err = b.client.Repository(b.server.Host() + "/team/static"); err != nil {
		t.Fatal(err)
	}
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		img := image(t, layer(t, "gzip", status("base-files", "13", arch)), layer(t, "zstd", status("libc6", "2.41-12", arch)))
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: arch},
		}})
		b.images = append(b.images, b.repo.Digest(digest(t, img)))
		b.sboms = append(b.sboms, sbom(t, digest(t, img), arch, "base-files 13", "libc6 2.41-12"))
	}
	b.index = b.repo.Digest(digest(t, idx))
	if err := remote.WriteIndex(b.index, idx); err != nil {
		t.Fatal(err)
	}
	return b
}

// attach publishes all evidence, and gives the number of pieces written.
func (b *bench) attach(k *key.Private, f Format) int {
	b.t.Helper()
	n := 0
	for i, d := range append([]name.Digest{b.index}, b.images...) {
		ev := Evidence{Subject: "static", Provenance: []byte(`{"buildDefinition":{}}`)}
		if i > 0 {
			ev.SBOM = b.sboms[i-1]
		}
		got, err := Attach(context.Background(), d, ev, AttachOptions{Registry: b.client, Key: k, Format: f})
		if err != nil {
			b.t.Fatalf("Attach(%s): %v", d, err)
		}
		n += got
	}
	return n
}

func (b *bench) verify(ks ...*key.Private) (*Report, error) {
	var pub []*key.Public
	for _, k := range ks {
		pub = append(pub, &k.Public)
	}
	return Verify(context.Background(), b.index, VerifyOptions{Registry: b.client, Keys: pub})
}

func TestRoundTrip(t *testing.T) {
	ours, theirs := keys(t)
	for _, referrersAPI := range []bool{true, false} {
		for _, f := range []Format{"", Both, Bundle, Legacy} {
			t.Run(fmt.Sprintf("%s, referrers %t", f, referrersAPI), func(t *testing.T) {
				b := newBench(t, referrersAPI)
				if n := b.attach(ours, f); n == 0 {
					t.Fatal("Attach wrote nothing")
				}
				rep, err := b.verify(theirs, ours)
				if err != nil {
					t.Fatalf("Verify: %v", err)
				}
				if !rep.Verified || len(rep.Checked) != 3 || rep.Checked[1].Packages != 2 {
					t.Errorf("Verify gave %+v", rep)
				}
				want := map[Format]int{"": 2, Both: 2, Bundle: 1, Legacy: 1}[f]
				for _, c := range rep.Checked {
					for _, p := range c.Evidence {
						if len(p.Forms) != want || p.Key != ours.Fingerprint() {
							t.Errorf("%s: %s found as %v by %s", c.Platform, p.Type, p.Forms, p.Key)
						}
					}
				}
			})
		}
	}
}

func TestRerunAddsNothing(t *testing.T) {
	ours, _ := keys(t)
	for _, referrersAPI := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers %t", referrersAPI), func(t *testing.T) {
			b := newBench(t, referrersAPI)
			b.attach(ours, Both)
			before := b.server.State()
			if n := b.attach(ours, Both); n != 0 {
				t.Errorf("the rerun wrote %d pieces", n)
			}
			if diff := cmp.Diff(before, b.server.State()); diff != "" {
				t.Errorf("the rerun changed the registry:\n%s", diff)
			}
		})
	}
}

func TestMissingFormIsAddedFromTheOther(t *testing.T) {
	ours, _ := keys(t)
	b := newBench(t, true)
	b.attach(ours, Bundle)
	b.attach(ours, Legacy)
	before := b.server.State()
	if n := b.attach(ours, Both); n != 0 {
		t.Errorf("both after bundle and legacy wrote %d pieces", n)
	}
	if diff := cmp.Diff(before, b.server.State()); diff != "" {
		t.Error(diff)
	}
	f, err := read(context.Background(), b.client, b.images[0])
	if err != nil {
		t.Fatal(err)
	}
	sigs := map[string]map[string]bool{}
	for _, s := range f.stated {
		if sigs[s.statement.PredicateType] == nil {
			sigs[s.statement.PredicateType] = map[string]bool{}
		}
		sigs[s.statement.PredicateType][s.envelope.Signatures[0].Sig] = true
	}
	for kind, s := range sigs {
		if len(s) != 1 {
			t.Errorf("%s was signed %d times, want once for both forms", kind, len(s))
		}
	}
}

func TestEvidenceOfOthersIsKept(t *testing.T) {
	ours, theirs := keys(t)
	b := newBench(t, false)
	b.attach(theirs, Both)
	b.attach(ours, Both)
	for _, k := range []*key.Private{ours, theirs} {
		rep, err := b.verify(k)
		if err != nil {
			t.Fatalf("Verify with %s: %v", k.Fingerprint(), err)
		}
		if len(rep.Checked[0].Ignored) == 0 {
			t.Error("the other key's evidence is not mentioned")
		}
	}
}

func TestReportText(t *testing.T) {
	ours, theirs := keys(t)
	b := newBench(t, true)
	b.attach(ours, Both)
	for k, want := range map[*key.Private]string{ours: ": verified\n", theirs: "FE504 its signature (bundle) does not verify with key " + theirs.Fingerprint() + ": it says that it is signed by key " + ours.Fingerprint()} {
		rep, _ := b.verify(k)
		var text bytes.Buffer
		if err := rep.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, text.String())
		}
		if lines := strings.Count(text.String(), "\n"); lines > 24 {
			t.Errorf("report has %d lines, more than a screen", lines)
		}
	}
}

// image makes an image of the layers.
func image(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// entry is one tar entry; a nil body with a name ending in "/" is a directory.
type entry struct {
	name, body string
	kind       byte
}

// status is dpkg's record of one package, as forge and distroless images keep it.
func status(pkg, version, arch string) entry {
	return entry{name: "var/lib/dpkg/status.d/" + pkg, body: fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n", pkg, version, arch), kind: tar.TypeReg}
}

func layer(t *testing.T, compression string, entries ...entry) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = nopCloser{&b}
	kind := types.OCIUncompressedLayer
	switch compression {
	case "gzip":
		w, kind = gzip.NewWriter(&b), types.OCILayer
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w, kind = z, types.OCILayerZStd
	}
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Size: int64(len(e.body)), Mode: 0o644}
		if e.kind == tar.TypeSymlink {
			h.Size, h.Linkname = 0, e.body
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(tw, e.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(b.Bytes(), kind)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// sbom makes an SBOM of "name version" packages.
func sbom(t *testing.T, digest, arch string, packages ...string) []byte {
	t.Helper()
	in := attest.SBOMInput{
		Name: "static", Version: "1", Platform: "linux/" + arch, Digest: digest, Forge: "test",
		Created: time.Unix(1_700_000_000, 0), Distro: attest.Distro{ID: "debian", Version: "13"},
	}
	for _, p := range packages {
		n, v, _ := strings.Cut(p, " ")
		in.Packages = append(in.Packages, attest.Package{Name: n, Version: v, Arch: arch, Source: n, SourceVersion: v})
	}
	out, err := attest.SBOM(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func digest(t *testing.T, m interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func wantID(t *testing.T, err error, id diag.ID) {
	t.Helper()
	if got := diag.IDOf(err); got != id {
		t.Errorf("error is %s (%v), want %s", got, err, id)
	}
}
