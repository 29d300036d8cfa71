package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/diag"
)

func TestLoadConfig(t *testing.T) {
	both := ""
	for _, s := range ConfigSchemas {
		both += s.Example
	}
	for name, c := range map[string]struct {
		text string
		want Config
	}{
		"empty": {"", Config{Mirrors: map[string][]string{}}},
		"the examples of the reference": {both, Config{
			Mirrors: map[string][]string{"debian": {"https://mirror.example/debian"}},
			CAFile:  "/etc/ssl/company.pem", Netrc: "/home/builder/.netrc",
		}},
		"snapshot service, plain registries": {
			`mirror "snapshot" { urls = ["https://snapshot.example"] }
network { insecure_registries = ["registry.example:5000"] }`,
			Config{Mirrors: map[string][]string{}, Snapshot: "https://snapshot.example", Insecure: []string{"registry.example:5000"}},
		},
	} {
		got, err := LoadConfig(write(t, c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestLoadConfigReportsFaults(t *testing.T) {
	for _, text := range []string{
		`mirror "debian" {}`, `mirror "debian" { urls = [null] }`, `mirror { urls = [] }`, `mirorr "x" {}`,
		`network { ca_file = 1 + }`, "network {}\nnetwork {}",
		"mirror \"a\" { urls = [] }\nmirror \"a\" { urls = [] }",
	} {
		_, err := LoadConfig(write(t, text))
		var findings *diag.Findings
		if !errors.As(err, &findings) {
			t.Errorf("%s: %v, want findings", text, err)
		}
	}
}

func TestLoadConfigWithoutFile(t *testing.T) {
	for _, name := range []string{"", filepath.Join(t.TempDir(), "config.hcl")} {
		if c, err := LoadConfig(name); err != nil || c.Mirrors != nil {
			t.Errorf("LoadConfig(%q) = %v, %v, want nothing", name, c, err)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
