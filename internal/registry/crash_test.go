package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"forge/internal/diag"
	"forge/internal/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// attach hangs evidence on a digest in both forms, as cosign would.
func attach(ctx context.Context, c *Client, d name.Digest, subject v1.Descriptor) error {
	h := subject.Digest
	sig, blobs := artifact("application/vnd.dev.cosign.simplesigning.v1+json", "signature", nil)
	if err := c.Write(ctx, d.Context().Tag(h.Algorithm+"-"+h.Hex+".sig"), sig, blobs...); err != nil {
		return err
	}
	bundle, blobs := artifact(bundleType, `{"mediaType":"`+bundleType+`"}`, &subject)
	_, err := c.Attach(ctx, d.Context(), bundle, blobs...)
	return err
}

// artifact is a manifest of one layer, and its blobs.
func artifact(media types.MediaType, content string, subject *v1.Descriptor) (manifest []byte, blobs [][]byte) {
	describe := func(b string, media types.MediaType) v1.Descriptor {
		h, n, _ := v1.SHA256(strings.NewReader(b))
		return v1.Descriptor{MediaType: media, Digest: h, Size: n}
	}
	manifest, _ = json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: describe("{}", media), Layers: []v1.Descriptor{describe(content, media)}, Subject: subject,
		Annotations: map[string]string{"dev.sigstore.bundle.predicateType": "https://cyclonedx.org/bom"},
	})
	return manifest, [][]byte{[]byte("{}"), []byte(content)}
}

// publish does the steps of publishing in their order, tags last.
func publish(ctx context.Context, c *Client, repo name.Repository, l *Layout) error {
	d, err := c.Push(ctx, repo, l, PushOptions{})
	if err != nil {
		return err
	}
	if err := attach(ctx, c, d, l.Root); err != nil {
		return fault(err, repo.RegistryStr(), "attaching evidence to %q", d)
	}
	if err := c.Confirm(ctx, d); err != nil {
		return err
	}
	if err := c.TagOnce(ctx, d, "1.0-abcdefabcdef"); err != nil {
		return err
	}
	return c.Tag(ctx, d, "1.0")
}

func TestPublishThatDiesAnywhereIsFinishedByARerun(t *testing.T) {
	l := write(t, sample(t, 1, 1))
	for _, referrers := range []bool{false, true} {
		whole, c := start(t, registrytest.Options{Referrers: referrers})
		if err := publish(t.Context(), c, repoOf(t, c, whole, "app"), l); err != nil {
			t.Fatal(err)
		}
		want, requests := whole.State(), len(whole.Requests())
		if requests < 20 {
			t.Fatalf("only %d requests: the test does not see what it should", requests)
		}
		for n := range requests {
			for _, lost := range []bool{false, true} {
				r, c := start(t, registrytest.Options{Referrers: referrers})
				repo := repoOf(t, c, r, "app")
				r.DieAfter(n, lost)
				err := publish(t.Context(), c, repo, l)
				if err != nil && diag.IDOf(err) != diag.RegistryFault {
					t.Fatalf("dead after %d requests: %v", n, err)
				}
				tagIsLast(t, r, want)
				r.Revive()
				again := newClient(t, Options{})
				if err := publish(t.Context(), again, repo, l); err != nil {
					t.Fatalf("dead after %d requests (lost %v), rerun: %v", n, lost, err)
				}
				if got := r.State(); got != want {
					t.Fatalf("dead after %d requests (lost %v), rerun gives\n%s\nnot\n%s", n, lost, got, want)
				}
			}
		}
	}
}

// tagIsLast fails when a version tag is visible while anything else is missing.
func tagIsLast(t *testing.T, r *registrytest.Registry, want string) {
	t.Helper()
	if r.Tags("app")["1.0-abcdefabcdef"] == "" && r.Tags("app")["1.0"] == "" {
		return
	}
	if got := r.State(); grepNot(got, " tag 1.0") != grepNot(want, " tag 1.0") {
		t.Fatalf("a tag is visible over\n%s\nthe whole is\n%s", got, want)
	}
}

func grepNot(text, part string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, part) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

func TestCancelledPushSaysSo(t *testing.T) {
	r, c := start(t, registrytest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	r.Add(registrytest.Fault{Method: "PATCH", Serve: func(_ http.ResponseWriter, q *http.Request, _ http.Handler, quit <-chan struct{}) {
		cancel()
		io.Copy(io.Discard, q.Body)
		<-quit
	}})
	_, err := c.Push(ctx, repoOf(t, c, r, "app"), write(t, sample(t, 1, 2)), PushOptions{})
	if !errors.Is(err, context.Canceled) || diag.IDOf(err) != "" {
		t.Errorf("Push = %v, want a plain cancellation", err)
	}
}
