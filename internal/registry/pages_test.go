package registry

import (
	"fmt"
	"testing"

	"forge/internal/registry/registrytest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestReferrersOfAllPagesAreListed(t *testing.T) {
	for _, count := range []int{0, 1, 2, 3, 7} {
		r, _ := start(t, registrytest.Options{Referrers: true, Page: 2, User: "a", Password: "b"})
		c := newClient(t, Options{Keychain: static{"a", "b"}})
		repo := repoOf(t, c, r, "app")
		l := write(t, sample(t, 1, 1))
		d, err := c.Push(t.Context(), repo, l, PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[v1.Hash]bool{}
		for i := range count {
			raw, blobs := artifact(bundleType, fmt.Sprint(i), &l.Root)
			a, err := c.Attach(t.Context(), repo, raw, blobs...)
			if err != nil {
				t.Fatal(err)
			}
			h, _ := v1.NewHash(a.DigestStr())
			want[h] = true
		}
		listed, err := c.Referrers(t.Context(), d)
		if err != nil || len(listed) != count {
			t.Errorf("Referrers = %d of %d, %v", len(listed), count, err)
		}
		for _, m := range listed {
			if !want[m.Digest] {
				t.Errorf("Referrers lists %s, twice or never attached", m.Digest)
			}
			delete(want, m.Digest)
		}
	}
}
