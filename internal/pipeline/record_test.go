package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/debian/deb"
)

func TestRecordReadsBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "scripts", "abc.json")
	want := &scripts{[]deb.Script{{Name: "postinst"}}}
	if err := writeRecord(name, want); err != nil {
		t.Fatal(err)
	}
	got, ok := readRecord[scripts](name)
	if !ok {
		t.Fatal("a record that was just written is none")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("record differs (-want +got):\n%s", d)
	}
}

// Every single byte of a record that is changed or cut off makes it none.
func TestDamagedRecordIsNone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "scripts", "abc.json")
	if err := writeRecord(name, &scripts{[]deb.Script{{Name: "postinst"}}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	isNone := func(what string, i int, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, ok := readRecord[scripts](name); ok {
			t.Fatalf("%s at byte %d: read as %+v, want none", what, i, got)
		}
	}
	for i := range whole {
		flipped := append([]byte(nil), whole...)
		flipped[i] ^= 1
		isNone("bit flipped", i, flipped)
		isNone("cut off", i, whole[:i])
	}
	other := filepath.Join(filepath.Dir(name), "other.json")
	if err := os.WriteFile(other, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, ok := readRecord[scripts](other); ok {
		t.Error("a record under another's name was read")
	}
}
