package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"forge/internal/diag"
)

// testTar writes files in the order given: name, content, name, content.
func testTar(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Format: tar.FormatGNU}
		if err := errors.Join(w.WriteHeader(h), writeAll(w, files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeAll(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

func testDeb(suffix string, control, data []byte) []byte {
	b := bytes.NewBufferString(arMagic)
	for _, m := range []struct {
		name string
		body []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", control}, {"data.tar" + suffix, data}} {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.body))
		b.Write(m.body)
		if len(m.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

const controlText = "Package: tool\nVersion: 1:2.0-1\nArchitecture: amd64\nDescription: a tool\n with more\n"

func open(t testing.TB, data []byte) *Package {
	t.Helper()
	p, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpenReadsTheControlPart(t *testing.T) {
	control := testTar(t, "./postinst", "#!/bin/sh\n", "./control", controlText, "./conffiles", "/etc/a b\n\nremove-on-upgrade /etc/gone\n",
		"./md5sums", "0cc175b9c0f1b6a831c399e269772661  usr/bin/tool\n", "./preinst", "exit\n", "./templates", "ignored")
	p := open(t, testDeb("", control, testTar(t)))
	if p.Field("version") != "1:2.0-1" || p.Field("Description") != "a tool" || p.Field("None") != "" {
		t.Errorf("fields are %q, %q, %q", p.Field("version"), p.Field("Description"), p.Field("None"))
	}
	want := []Script{{"postinst", []byte("#!/bin/sh\n")}, {"preinst", []byte("exit\n")}}
	if d := cmp.Diff(want, p.Scripts); d != "" {
		t.Errorf("scripts differ:\n%s", d)
	}
	if d := cmp.Diff([]string{"etc/a b"}, p.Conffiles); d != "" {
		t.Errorf("conffiles differ:\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"usr/bin/tool": "0cc175b9c0f1b6a831c399e269772661"}, p.MD5Sums); d != "" {
		t.Errorf("md5sums differ:\n%s", d)
	}
}

// xzTar is testTar(t, "./f", "x") packed by xz, since no writer of xz is linked.
const xzTar = "fd377a585a000004e6d6b446020021011c00000010cf58cce007ff003f5d00170bc940dde1706494e35132328e37abde6c43e81e2e3bdd2aee1a6993f88cb33e339bb01ecef5c19d645cda1d1fed4c43ef5bdafa682199ece0289f40d600000043ce260ad0f4266000015b8010000000e4cbe344b1c467fb020000000004595a"

func TestDataInEveryCompression(t *testing.T) {
	plain := testTar(t, "./f", "x")
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if err := errors.Join(writeAll(w, string(plain)), w.Close()); err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	xz, err := hex.DecodeString(xzTar)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, packed := range map[string][]byte{"": plain, ".gz": gz.Bytes(), ".zst": enc.EncodeAll(plain, nil), ".xz": xz} {
		whole := testDeb(suffix, testTar(t, "control", controlText), packed)
		for range 2 { // reading twice must give the same
			if got := contents(t, open(t, whole)); got != "f=x;" {
				t.Errorf("data.tar%s holds %q", suffix, got)
			}
		}
		for n := 1; n < len(packed); n += max(1, len(packed)/50) {
			cut := open(t, testDeb(suffix, testTar(t, "control", controlText), packed[:len(packed)-n]))
			err := cut.Data(func(Entry, io.Reader) error { return nil })
			if diag.IDOf(err) != diag.MalformedPackage {
				t.Errorf("data.tar%s cut by %d bytes: error %v", suffix, n, err)
			}
		}
	}
}

func contents(t testing.TB, p *Package) string {
	t.Helper()
	var b strings.Builder
	err := p.Data(func(e Entry, r io.Reader) error {
		data, err := io.ReadAll(r)
		fmt.Fprintf(&b, "%s=%s;", e.Path, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDataGivesLongNamesAndLinks(t *testing.T) {
	long := strings.Repeat("long/", 40) + "name"
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./" + long, Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1, Gid: 42},
		{Name: "./l", Typeflag: tar.TypeSymlink, Linkname: "../" + long, Mode: 0o777},
		{Name: "./h", Typeflag: tar.TypeLink, Linkname: "./" + long, Mode: 0o600},
	} {
		h.Format = tar.FormatGNU
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	p := open(t, testDeb("", testTar(t, "control", controlText), b.Bytes()))
	if err := p.Data(func(e Entry, _ io.Reader) error { e.MTime = 0; got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Type: Directory, Mode: 0o755}, {Path: long, Type: File, Mode: 0o600, UID: 1, GID: 42},
		{Path: "l", Type: Symlink, Mode: 0o777, Target: "../" + long}, {Path: "h", Type: Hardlink, Mode: 0o600, Target: long},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("entries differ (-want +got):\n%s", d)
	}
}

func TestDecoderThatNeverEndsIsStopped(t *testing.T) {
	r := &plainReader{r: stuckReader{}, left: 10}
	if _, err := io.Copy(io.Discard, r); diag.IDOf(err) != diag.MalformedPackage {
		t.Errorf("error %v, want a refused package", err)
	}
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

func TestBombIsStopped(t *testing.T) {
	for limit, want := range map[int64]diag.ID{99: diag.TooLarge, 100: "", 101: ""} {
		_, err := io.Copy(io.Discard, &plainReader{r: strings.NewReader(strings.Repeat("x", 100)), left: limit})
		if diag.IDOf(err) != want {
			t.Errorf("limit %d: error %v, want id %q", limit, err, want)
		}
	}
}

func TestCleanPath(t *testing.T) {
	for path, want := range map[string]string{"./": "", ".": "", "./a/b": "a/b", "a": "a", "a b": "a b", "ü": "ü"} {
		if got, err := CleanPath(path); err != nil || got != want {
			t.Errorf("CleanPath(%q) = %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"", "/", "/a", "..", "./..", "a/..", "a/../b", "./.", "././a", "a//b", "a/", "\x00", "a\n", "\xff", ".wh.a", "a/.wh.b", strings.Repeat("n", 256)} {
		if got, err := CleanPath(path); err == nil {
			t.Errorf("CleanPath(%q) = %q, want an error", path, got)
		}
	}
}

// FuzzOpen reads arbitrary package files: no panic, bounded, and what is refused is
// refused under an id.
func FuzzOpen(f *testing.F) {
	f.Add(testDeb("", testTar(f, "control", controlText), testTar(f, "./f", "x")))
	f.Add(testDeb(".gz", testTar(f, "control", controlText), []byte{0x1f, 0x8b, 8}))
	f.Add(testDeb(".xz", testTar(f, "control", controlText), []byte("\xfd7zXZ\x00")))
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			err = p.Data(func(_ Entry, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
		}
		if err != nil && diag.IDOf(err) == "" {
			t.Errorf("error without id: %v", err)
		}
	})
}

// FuzzTar holds the reader against the standard library's: what this one takes, that
// one takes too, with the same names, types and contents.
func FuzzTar(f *testing.F) {
	f.Add(testTar(f, "./f", "x", "./"+strings.Repeat("d/", 80)+"g", "y"))
	f.Add(testTar(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readOwn(data)
		if err != nil {
			return
		}
		if want := readStandard(t, data); got != want {
			t.Errorf("read %q, the standard library %q", got, want)
		}
	})
}

func readOwn(data []byte) (string, error) {
	tr, err := newTarReader(bytes.NewReader(data), "", 1<<20)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		e, err := tr.next()
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%q %c %q;", e.Path, e.Type, body)
	}
}

func readStandard(t *testing.T, data []byte) string {
	t.Helper()
	var b strings.Builder
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatalf("the standard library refuses it: %v", err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatalf("the standard library refuses it: %v", err)
		}
		path, err := CleanPath(strings.TrimSuffix(h.Name, "/"))
		if h.Name == "./" {
			path, err = "", nil
		}
		if err != nil {
			t.Fatalf("the standard library reads the path %q: %v", h.Name, err)
		}
		fmt.Fprintf(&b, "%q %c %q;", path, h.Typeflag, body)
	}
}
