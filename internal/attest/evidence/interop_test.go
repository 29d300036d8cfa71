//go:build interop

package evidence

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"forge/internal/attest/key"
)

// emptyRoot is a trusted root that trusts nobody: cosign 2.6 wants one to read bundles
// offline, although a key alone decides.
const emptyRoot = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`

// TestCosign checks what forge writes with the cosign on PATH, with no network but
// loopback. The commands are those of the README.
func TestCosign(t *testing.T) {
	cosign, err := exec.LookPath("cosign")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	password := func(bool) ([]byte, error) { return []byte("secret"), nil }
	if _, err := key.Generate(filepath.Join(dir, "cosign"), password); err != nil {
		t.Fatal(err)
	}
	k, err := key.LoadPrivate(filepath.Join(dir, "cosign.key"), password)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "empty-root.json")
	if err := os.WriteFile(root, []byte(emptyRoot), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stranger := keys(t)
	for _, referrers := range []bool{true, false} {
		for _, f := range []Format{Both, Bundle, Legacy} {
			b := newBench(t, referrers)
			b.attach(k, f)
			offline := []string{"--key", filepath.Join(dir, "cosign.pub"), "--insecure-ignore-tlog=true", "--allow-http-registry"}
			if f != Legacy {
				offline = append(offline, "--trusted-root", root)
			}
			run := func(want bool, args ...string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), cosign, args...)
				cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
				out, err := cmd.CombinedOutput()
				if (err == nil) != want {
					t.Errorf("%s, referrers %t: cosign %s: %v\n%s", f, referrers, strings.Join(args, " "), err, out)
				}
			}
			index, image := b.index.Name(), b.images[0].Name()
			run(true, append(append([]string{"verify"}, offline...), index)...)
			run(true, append(append([]string{"verify"}, offline...), image)...)
			run(true, append(append([]string{"verify-attestation", "--type", "cyclonedx"}, offline...), image)...)
			run(true, append(append([]string{"verify-attestation", "--type", "slsaprovenance1"}, offline...), image)...)
			run(true, append(append([]string{"verify-attestation", "--type", "slsaprovenance1"}, offline...), index)...)
			run(false, append(append([]string{"verify-attestation", "--type", "spdxjson"}, offline...), image)...)

			other := newBench(t, referrers)
			other.attach(stranger, f)
			run(false, append(append([]string{"verify"}, offline...), other.index.Name())...)
		}
	}
}
