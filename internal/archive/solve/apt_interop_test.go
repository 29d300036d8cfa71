//go:build interop

package solve

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// apt is an apt-get with directories of its own and an empty dpkg status.
type apt struct{ dir string }

func newApt(t *testing.T, sources string) apt {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Fatalf("the oracle needs apt-get: %v", err)
	}
	a := apt{t.TempDir()}
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg", "var/log/apt"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(a.dir, "etc/apt/sources.list"), sources)
	write(t, filepath.Join(a.dir, "var/lib/dpkg/status"), "")
	write(t, filepath.Join(a.dir, "apt.conf"), fmt.Sprintf(`Dir "%[1]s";
Dir::State::status "%[1]s/var/lib/dpkg/status";
Dir::Etc::trustedparts "/usr/share/keyrings/";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
`, a.dir))
	if out, err := a.run("update"); err != nil {
		t.Fatalf("apt-get update: %v\n%s", err, out)
	}
	return a
}

func (a apt) run(args ...string) (string, error) {
	c := exec.Command("apt-get", args...)
	c.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	out, err := c.CombinedOutput()
	return string(out), err
}

// install gives what apt would install, as sorted "name=version". An upgrade or removal
// of an installed package is in the list as "name upgraded" or "name removed".
func (a apt) install(request []string) ([]string, error) {
	out, err := a.run(append([]string{"-s", "install", "--no-install-recommends"}, request...)...)
	var got []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "Inst" && strings.HasPrefix(f[2], "["):
			got = append(got, f[1]+" upgraded")
		case len(f) > 2 && f[0] == "Inst":
			got = append(got, f[1]+"="+strings.TrimPrefix(f[2], "("))
		case len(f) > 1 && f[0] == "Remv":
			got = append(got, f[1]+" removed")
		}
	}
	slices.Sort(got)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return got, err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// debianRoots finds the roots of Debian's archive and of its security archive in the
// sources of this machine's apt.
func debianRoots(t *testing.T) (main, security string) {
	t.Helper()
	empty := t.TempDir()
	out, err := exec.Command("apt-get", "--print-uris", "update", "-o", "Dir::State::lists="+empty).Output()
	if err != nil {
		t.Fatalf("asking apt for this machine's sources: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		uri, _, _ := strings.Cut(strings.TrimPrefix(line, "'"), "'")
		root, release, found := strings.Cut(strings.TrimSuffix(uri, "/InRelease"), "/dists/")
		switch {
		case !found || !strings.HasSuffix(uri, "/InRelease"):
		case strings.HasSuffix(release, "-security"):
			security = root
		case strings.HasSuffix(release, "-updates"):
			main = root
		}
	}
	if main == "" || security == "" {
		t.Fatal("this machine's apt sources name no Debian archive with an updates and a security suite")
	}
	return main, security
}

// indexes gives the files that apt downloaded, by release.
func (a apt) indexes(t *testing.T) map[string][]byte {
	t.Helper()
	out, err := a.run("indextargets", "Created-By: Packages", "--format", "$(RELEASE) $(FILENAME)")
	if err != nil {
		t.Fatalf("apt-get indextargets: %v\n%s", err, out)
	}
	files := map[string][]byte{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		data, err := os.ReadFile(f[1])
		if err != nil {
			t.Fatal(err)
		}
		files[f[0]] = data
	}
	return files
}

// installed makes apt see packages of an index as installed.
func (a apt) installed(t *testing.T, index string, selected []Selected) {
	t.Helper()
	var b strings.Builder
	for stanza := range strings.SplitSeq(index, "\n\n") {
		if slices.ContainsFunc(selected, func(s Selected) bool { return strings.HasPrefix(stanza, "Package: "+s.Name+"\n") }) {
			b.WriteString(stanza + "\nStatus: install ok installed\n\n")
		}
	}
	write(t, filepath.Join(a.dir, "var/lib/dpkg/status"), b.String())
}
