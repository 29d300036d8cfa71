package evidence

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/attest/key"
	"forge/internal/diag"
)

// TestRerunFinishesWhatWasCutOff lets the registry die after each request of Attach in
// turn, with the last answer arriving or lost: a rerun must leave what an uninterrupted
// run leaves, and another must add nothing.
func TestRerunFinishesWhatWasCutOff(t *testing.T) {
	ours, _ := keys(t)
	ctx := context.Background()
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers %t", referrers), func(t *testing.T) {
			attach := func(b *bench) (int, error) {
				ev := Evidence{Subject: "static", SBOM: b.sboms[0], Provenance: []byte("{}")}
				// A client of its own each time: a new process knows nothing of the last.
				return Attach(ctx, b.images[0], ev, AttachOptions{Registry: newClient(t), Key: ours})
			}
			whole := newBench(t, referrers)
			whole.server.Forget()
			if _, err := attach(whole); err != nil {
				t.Fatal(err)
			}
			want, requests := whole.pieces(), len(whole.server.Requests())
			if len(want) < 9 || requests < 20 {
				t.Fatalf("%d requests, %q: the test does not see what it should", requests, want)
			}
			for n := range 2 * requests {
				n, lost := n/2, n%2 == 1
				b := newBench(t, referrers)
				b.server.DieAfter(n, lost)
				if _, err := attach(b); err != nil && diag.IDOf(err) != diag.RegistryFault {
					t.Fatalf("dead after %d requests: %v", n, err)
				}
				b.server.Revive()
				if _, err := attach(b); err != nil {
					t.Fatalf("dead after %d requests (lost %t), rerun: %v", n, lost, err)
				}
				if diff := cmp.Diff(want, b.pieces()); diff != "" {
					t.Errorf("dead after %d requests (lost %t), a rerun leaves (-want +got)\n%s", n, lost, diff)
				}
				if _, err := Verify(ctx, b.images[0], VerifyOptions{Registry: b.client, Keys: []*key.Public{&ours.Public}}); err != nil {
					t.Errorf("dead after %d requests (lost %t), verifying after a rerun: %v", n, lost, err)
				}
				before := b.server.State()
				if again, err := attach(b); again != 0 || err != nil || b.server.State() != before {
					t.Errorf("dead after %d requests (lost %t), a second rerun wrote %d pieces, %v", n, lost, again, err)
				}
			}
		})
	}
}

// pieces lists the tags, and what hangs on the first image, by form and type; digests
// differ from run to run, since signatures do.
func (b *bench) pieces() []string {
	b.t.Helper()
	listed, err := b.client.Evidence(context.Background(), b.images[0])
	b.ok(err)
	var out []string
	for _, e := range listed {
		out = append(out, strings.Join([]string{e.Form, e.ArtifactType, e.PredicateType}, " "))
	}
	for tag := range b.server.Tags("team/static") {
		out = append(out, "tag "+tag)
	}
	slices.Sort(out)
	return out
}
