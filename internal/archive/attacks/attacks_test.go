package attacks_test

import (
	"testing"

	"forge/internal/archive/attacks"
)

func TestEveryAttackIsBeaten(t *testing.T) {
	results, err := attacks.Run(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Passed() {
			t.Errorf("%s %s: error %v (id %q), want id %q; changed: %q", r.ID, r.Title, r.Err, r.Got, r.Want, r.Changed)
		}
	}
	t.Logf("%d cases", len(results))
}
