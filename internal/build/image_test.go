package build

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func indent(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

func TestAssembleGolden(t *testing.T) {
	r := result(t, openStore(t))
	golden(t, "config.json", indent(t, r.Images[0].Config))
	golden(t, "manifest.json", indent(t, r.Images[0].Manifest))
	golden(t, "index.json", indent(t, r.Index))
}

func TestAssembleIsDeterministic(t *testing.T) {
	want := result(t, openStore(t))
	for range 10 {
		if got := result(t, openStore(t)); got.Digest() != want.Digest() {
			t.Fatalf("digest %s, then %s", want.Digest(), got.Digest())
		}
	}
}

func TestAssemblePlatform(t *testing.T) {
	set, _ := family()
	for platform, want := range map[string]string{
		"linux/amd64":    "amd64  linux",
		"linux/arm64":    "arm64  linux",
		"linux/arm64/v8": "arm64  linux",
		"linux/arm/v7":   "arm v7 linux",
	} {
		m, err := Assemble(set.Image("static"), platform, created, nil)
		if err != nil {
			t.Fatal(err)
		}
		var c ocispecs.Image
		if err := json.Unmarshal(m.Config, &c); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %s", c.Architecture, c.Variant, c.OS); got != want {
			t.Errorf("%s: %q, want %q", platform, got, want)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("package%d=1.0", i))
	}
	got := packageList(many)
	if len(got) > maxHistory+20 || !strings.HasSuffix(got, "more") {
		t.Errorf("%d bytes ending in %q", len(got), got[len(got)-20:])
	}
	if got := packageList([]string{"a=1", "b=2"}); got != ": a=1, b=2" {
		t.Errorf("packageList = %q", got)
	}
}
