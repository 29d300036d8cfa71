package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"forge/internal/diag"
	"forge/internal/registry/registrytest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	ociStatic "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

var update = flag.Bool("update", false, "rewrite golden files")

// fakeLayer is a layer with bytes and a diffID of the test's choosing.
type fakeLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l fakeLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func tarOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		must(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(files[i+1]))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func encode(t *testing.T, plain []byte, media types.MediaType) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	if isZstd(media) {
		w, err := zstd.NewWriter(&b)
		must(t, err)
		w.Write(plain)
		must(t, w.Close())
	} else {
		w := gzip.NewWriter(&b)
		w.Write(plain)
		must(t, w.Close())
	}
	h, _, err := v1.SHA256(bytes.NewReader(plain))
	must(t, err)
	return fakeLayer{ociStatic.NewLayer(b.Bytes(), media), h}
}

func isZstd(t types.MediaType) bool { return strings.HasSuffix(string(t), "+zstd") }

func record(pkg, version string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\nDescription: text\n Version: 9 in the text\n", pkg, version)
}

// golden is an image such as forge builds, one platform's worth.
func golden(t *testing.T, arch string) v1.Image {
	t.Helper()
	layers := []v1.Layer{
		encode(t, tarOf(t,
			"var/lib/dpkg/status.d/base-files", record("base-files", "13.8+deb13u1"),
			"var/lib/dpkg/status.d/base-files.md5sums", "0  etc/x\n",
			"var/lib/dpkg/status.d/removed", record("removed", "1"),
			"./var/lib/dpkg/status.d/libc6", record("libc6", "2.41-12")), types.OCILayerZStd),
		encode(t, tarOf(t,
			"var/lib/dpkg/status.d/.wh.removed", "",
			"var/lib/dpkg/status.d/libc6", record("libc6", "2.41-12+deb13u1"),
			"var/lib/dpkg/status", record("half", "1")+"\n"+strings.Replace(record("gone", "1"), "install ok installed", "deinstall ok config-files", 1)), types.OCILayerZStd),
	}
	var adds []mutate.Addendum
	for i, l := range layers {
		mt, _ := l.MediaType()
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: mt, History: v1.History{CreatedBy: fmt.Sprintf("forge layout group %d", i)}})
	}
	img, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), adds...)
	must(t, err)
	cfg, err := img.ConfigFile()
	must(t, err)
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", arch
	cfg.Created = v1.Time{Time: time.Date(2026, 10, 3, 12, 0, 0, 0, time.UTC)}
	cfg.Config = v1.Config{
		User: "65532:65532", WorkingDir: "/home/nonroot", Entrypoint: []string{"/usr/bin/python3"},
		Env:    []string{"PATH=/usr/local/bin:/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels: map[string]string{"org.opencontainers.image.version": "13.1.0", "org.opencontainers.image.title": "python \x1b[2J evil " + strings.Repeat("long ", 40)},
	}
	img, err = mutate.ConfigFile(img, cfg)
	must(t, err)
	return img
}

func goldenIndex(t *testing.T) v1.ImageIndex {
	var idx v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add: golden(t, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return idx
}

func TestInspectShowsAnImageInOneScreen(t *testing.T) {
	for _, referrers := range []bool{false, true} {
		r, c := start(t, registrytest.Options{Referrers: referrers})
		repo := repoOf(t, c, r, "golden/python")
		l := write(t, goldenIndex(t))
		must(t, publish(t.Context(), c, repo, l))
		in, err := c.Inspect(t.Context(), repo.Name()+":1.0", InspectOptions{})
		must(t, err)
		want := []Package{{"base-files", "13.8+deb13u1", "amd64"}, {"half", "1", "amd64"}, {"libc6", "2.41-12+deb13u1", "amd64"}}
		if diff := cmp.Diff(want, in.Platforms[0].Packages); diff != "" {
			t.Errorf("packages (-want +got):\n%s", diff)
		}
		in.Reference = "registry.example/golden/python:1.0"
		compare(t, "inspect.txt", in)
		local, err := c.Inspect(t.Context(), "oci:"+l.path, InspectOptions{})
		must(t, err)
		in.Reference, in.Evidence = local.Reference, nil
		for i := range in.Platforms {
			in.Platforms[i].Evidence = nil
		}
		if diff := cmp.Diff(in, local); diff != "" {
			t.Errorf("registry and layout differ:\n%s", diff)
		}
	}
}

func compare(t *testing.T, name string, in Inspection) {
	t.Helper()
	var b bytes.Buffer
	must(t, WriteText(&b, in))
	for line := range strings.Lines(b.String()) {
		if utf8.RuneCountInString(line) > width+1 || strings.Contains(line, "\x1b") {
			t.Errorf("line does not fit: %q", line)
		}
	}
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", name, diff)
	}
}

func TestInspectOfATarIsThatOfItsDirectory(t *testing.T) {
	c := newClient(t, Options{})
	l := write(t, goldenIndex(t))
	want, err := c.Inspect(t.Context(), "oci:"+l.path, InspectOptions{})
	must(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.AddFS(os.DirFS(l.path)))
	must(t, w.Close())
	file := filepath.Join(t.TempDir(), "image.tar")
	must(t, os.WriteFile(file, b.Bytes(), 0o644))
	got, err := c.Inspect(t.Context(), "oci:"+file, InspectOptions{})
	must(t, err)
	got.Reference = want.Reference
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInspectOfOnePlatformAndShallow(t *testing.T) {
	c := newClient(t, Options{})
	l := write(t, goldenIndex(t))
	in, err := c.Inspect(t.Context(), "oci:"+l.path, InspectOptions{Platform: "linux/arm64", Shallow: true})
	must(t, err)
	if len(in.Platforms) != 1 || in.Platforms[0].Platform != "linux/arm64" || in.Platforms[0].Packages != nil || in.Platforms[0].Unknown == "" {
		t.Errorf("got %+v", in.Platforms)
	}
	data, err := json.Marshal(in)
	must(t, err)
	if !strings.HasPrefix(string(data), `{"version":1,`) || !strings.Contains(string(data), `"packages":null`) {
		t.Errorf("JSON: %s", data)
	}
	_, err = c.Inspect(t.Context(), "oci:"+l.path, InspectOptions{Platform: "linux/s390x"})
	check(t, err, diag.ImageNotFound, "s390x")
}

func TestLayersOfEveryEncodingAreRead(t *testing.T) {
	plain := tarOf(t, statusFile, record("a", "1"))
	raw, _, err := v1.SHA256(bytes.NewReader(plain))
	must(t, err)
	for what, l := range map[string]v1.Layer{
		"gzip": encode(t, plain, types.OCILayer), "zstd": encode(t, plain, types.OCILayerZStd),
		"none": fakeLayer{ociStatic.NewLayer(plain, types.OCIUncompressedLayer), raw},
	} {
		img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), l)
		must(t, err)
		layout := write(t, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: img}))
		in, err := newClient(t, Options{}).Inspect(t.Context(), "oci:"+layout.path, InspectOptions{})
		must(t, err)
		if got := in.Platforms[0]; len(got.Packages) != 1 || got.Uncompressed != int64(len(plain)) {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// R5, R9 and bombs: layers and configs that contradict each other.
func TestHostileImages(t *testing.T) {
	plain := tarOf(t, "etc/x", "x")
	trailing := append(bytes.Clone(plain), []byte("hidden")...)
	honest, _, err := v1.SHA256(bytes.NewReader(plain))
	must(t, err)
	appended := encode(t, trailing, types.OCILayer).(fakeLayer)
	appended.diffID = honest
	img := func(change func(*v1.ConfigFile), layers ...v1.Layer) v1.Image {
		i, err := mutate.AppendLayers(golden(t, "amd64"), layers...)
		must(t, err)
		cfg, err := i.ConfigFile()
		must(t, err)
		cfg = cfg.DeepCopy()
		change(cfg)
		i, err = mutate.ConfigFile(i, cfg)
		must(t, err)
		return i
	}
	same := func(*v1.ConfigFile) {}
	for what, bad := range map[string]v1.Image{
		"R5 bytes after the tar": img(same, appended),
		"R9 no diff_ids":         img(func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }),
		"R9 too few diff_ids":    img(func(c *v1.ConfigFile) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }),
		"wrong diff_id":          img(func(c *v1.ConfigFile) { c.RootFS.DiffIDs[0] = honest }),
		"layer is no tar":        img(same, encode(t, bytes.Repeat([]byte("x"), 5000), types.OCILayer)),
		"status bomb":            img(same, encode(t, tarOf(t, "var/lib/dpkg/status", strings.Repeat("x", 33<<20)), types.OCILayer)),
		"truncated gzip":         img(same, fakeLayer{ociStatic.NewLayer([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1}, types.OCILayer), honest}),
	} {
		t.Run(what, func(t *testing.T) {
			c := newClient(t, Options{Tries: 1})
			l := write(t, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: bad}))
			_, err := c.Inspect(t.Context(), "oci:"+l.path, InspectOptions{})
			if err == nil {
				t.Fatal("accepted")
			}
			if id := diag.IDOf(err); id != diag.RegistryRefused {
				t.Errorf("id %s: %v", id, err)
			}
		})
	}
}

func TestSizesReadWell(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 18_249_000: "18.2 MB", 999_960: "1.0 MB", 5_000_000_000: "5.0 GB"} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestEvidenceIsListedInBothForms(t *testing.T) {
	for _, referrers := range []bool{false, true} {
		r, c := start(t, registrytest.Options{Referrers: referrers})
		repo := repoOf(t, c, r, "app")
		l := write(t, sample(t, 1, 1))
		must(t, publish(t.Context(), c, repo, l))
		got, err := c.Evidence(t.Context(), repo.Digest(l.Root.Digest.String()))
		must(t, err)
		if len(got) != 2 || got[0].Kind != "sbom" || got[0].Form != FormReferrer || got[1].Kind != "signature" || got[1].Form != FormTag {
			t.Errorf("referrers API %v: %+v", referrers, got)
		}
	}
}

func FuzzInstalled(f *testing.F) {
	f.Add([]byte(record("a", "1") + "\n" + record("b", "2")))
	f.Add([]byte("Package:\r\n\r\n:\n a: b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, p := range installed(data) {
			if p.Name == "" {
				t.Error("package without a name")
			}
		}
	})
}
