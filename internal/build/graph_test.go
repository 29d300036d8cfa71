package build

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"forge/internal/diag"
)

func definition(t *testing.T, in Input) *llb.Definition {
	t.Helper()
	g, err := NewGraph(in)
	if err != nil {
		t.Fatal(err)
	}
	def, err := g.Definition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func TestGraphGolden(t *testing.T) {
	g, err := NewGraph(input("base"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := g.Text(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "base.graph", text)
}

func TestGraphMarshalsTheSameEachTime(t *testing.T) {
	want := definition(t, input("base"))
	for range 20 {
		got := definition(t, input("base"))
		if !slices.EqualFunc(want.Def, got.Def, bytes.Equal) {
			t.Fatal("two graphs of the same input differ")
		}
	}
}

// A child's graph has its parent's layers as the very same vertices.
func TestGraphSharesTheParentsVertices(t *testing.T) {
	child := map[digest.Digest]bool{}
	for _, raw := range definition(t, input("base")).Def {
		child[digest.FromBytes(raw)] = true
	}
	for _, raw := range definition(t, input("static")).Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		if (op.GetExec() != nil || op.GetSource() != nil) && !child[digest.FromBytes(raw)] {
			t.Errorf("the child lacks its parent's vertex %v", &op)
		}
	}
}

// One package that moves changes its own group and the finish layer, nothing else.
func TestGraphMovesOneGroup(t *testing.T) {
	execs := func(in Input) map[digest.Digest]bool {
		out := map[digest.Digest]bool{}
		for _, raw := range definition(t, in).Def {
			var op pb.Op
			if err := op.UnmarshalVT(raw); err != nil {
				t.Fatal(err)
			}
			if op.GetExec() != nil {
				out[digest.FromBytes(raw)] = true
			}
		}
		return out
	}
	before, in := execs(input("static")), input("static")
	in.Lock.Images[1].Packages[2].SHA256 = sha("a newer tzdata")
	same := 0
	for d := range execs(in) {
		if before[d] {
			same++
		}
	}
	if len(before) != 3 || same != 1 {
		t.Errorf("%d of %d layers stayed the same, want 1 of 3", same, len(before))
	}
}

func TestGraphWithoutWholeLock(t *testing.T) {
	for _, test := range []struct {
		name  string
		alter func(*Input)
		id    diag.ID
	}{
		{"unknown template", func(in *Input) { in.Image = "nosuch" }, diag.UnknownTemplate},
		{"platform not locked", func(in *Input) { in.Platform = "linux/s390x" }, diag.LockMissing},
		{"parent not locked", func(in *Input) { in.Lock.Images = in.Lock.Images[:1] }, diag.LockMissing},
		{"no date", func(in *Input) { in.Lock.Images[0].Created = "" }, diag.LockMalformed},
	} {
		in := input("base")
		test.alter(&in)
		if _, err := NewGraph(in); diag.IDOf(err) != test.id {
			t.Errorf("%s: error %v, want %s", test.name, err, test.id)
		}
	}
}

// Every blob that a vertex names is among the graph's, and those with data have it.
func TestGraphListsItsBlobs(t *testing.T) {
	g, err := NewGraph(input("base"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, b := range g.Blobs {
		have[b.Digest.String()] = true
		if b.Data != nil && digest.FromBytes(b.Data) != b.Digest {
			t.Errorf("blob %s has other data", b.Digest)
		}
	}
	named := 0
	for _, raw := range definition(t, input("base")).Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		if s := op.GetSource(); s != nil {
			named++
			if _, d, _ := strings.Cut(s.Identifier, "@"); !have[d] {
				t.Errorf("blob %s is not listed", d)
			}
		}
	}
	if named != len(g.Blobs) {
		t.Errorf("the graph lists %d blobs, its vertices name %d", len(g.Blobs), named)
	}
}
