package evidence

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"forge/internal/attest/key"
)

// dying lets a number of writing requests through, and fails all that come after.
type dying struct{ left int }

var errKilled = errors.New("killed")

func (d *dying) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if d.left--; d.left < 0 {
			return nil, errKilled
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestRerunFinishesWhatWasCutOff kills Attach after each of its writes in turn: a rerun
// must finish the work, and another must add nothing.
func TestRerunFinishesWhatWasCutOff(t *testing.T) {
	ours, _ := keys(t)
	ctx := context.Background()
	for _, referrersAPI := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers %t", referrersAPI), func(t *testing.T) {
			whole := false
			for n := 0; !whole; n++ {
				b := newBench(t, referrersAPI)
				ev := Evidence{Subject: "static", SBOM: b.sboms[0], Provenance: []byte("{}")}
				o := AttachOptions{Key: ours, Remote: []remote.Option{
					remote.WithTransport(&dying{n}),
					remote.WithRetryPredicate(func(error) bool { return false }),
				}}
				_, err := Attach(ctx, b.images[0], ev, o)
				whole = err == nil
				if err != nil && !errors.Is(err, errKilled) {
					t.Fatalf("after %d writes: %v", n, err)
				}
				o.Remote = nil
				if _, err := Attach(ctx, b.images[0], ev, o); err != nil {
					t.Fatalf("rerun after %d writes: %v", n, err)
				}
				if _, err := Verify(ctx, b.images[0], VerifyOptions{Keys: []*key.Public{&ours.Public}}); err != nil {
					t.Errorf("verifying after %d writes and a rerun: %v", n, err)
				}
				before := b.state()
				if again, err := Attach(ctx, b.images[0], ev, o); again != 0 || err != nil {
					t.Errorf("a second rerun after %d writes wrote %d pieces, %v", n, again, err)
				}
				if diff := cmp.Diff(before, b.state()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
