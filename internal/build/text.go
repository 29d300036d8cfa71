package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
)

// Text prints a graph for people and golden files: every vertex as JSON, inputs before
// what uses them, naming one another by number.
func (g *Graph) Text(ctx context.Context) ([]byte, error) {
	def, err := g.Definition(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	numbers := map[string]int{}
	for i, raw := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			return nil, fmt.Errorf("reading vertex %d: %w", i, err)
		}
		for _, in := range op.Inputs {
			in.Digest = fmt.Sprintf("vertex %d", numbers[in.Digest])
		}
		text, err := protojson.Marshal(&op)
		if err != nil {
			return nil, fmt.Errorf("printing vertex %d: %w", i, err)
		}
		var plain any // protojson varies its spaces on purpose
		if err := json.Unmarshal(text, &plain); err != nil {
			return nil, fmt.Errorf("printing vertex %d: %w", i, err)
		}
		pretty, err := json.MarshalIndent(plain, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("printing vertex %d: %w", i, err)
		}
		d := digest.FromBytes(raw)
		numbers[d.String()] = i
		fmt.Fprintf(&out, "vertex %d: %s\n%s\n\n", i, def.Metadata[d].Description["llb.customname"], pretty)
	}
	return out.Bytes(), nil
}
