package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/diag"
)

// Run has the engine do a graph and gives the layers, encoded, from the store. Layers
// that the store has already are not sent again. A fault of an input comes back as the
// caller's Open gave it, one of the store as diag.Disk; any other fault of the engine is diag.BuildFailed with the
// last lines of what failed.
func Run(ctx context.Context, o Options, g *Graph) ([]Layer, error) {
	def, err := g.Definition(ctx)
	if err != nil {
		return nil, fmt.Errorf("marshalling the graph of %q: %w", g.Image.Name, err)
	}
	in, out := newSource(g, o.Open), newReceiver(o.Store, o.Blobs, g.Image.Compression, 2*len(g.Layers))
	log := newFailureLog()
	status := make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range status {
			log.add(s)
			if o.Progress != nil {
				o.Progress(g.forPeople(s))
			}
		}
	}()
	resp, err := o.Engine.Solve(ctx, def, client.SolveOpt{
		OCIStores: map[string]content.Store{storeID: in},
		Exports: []client.ExportEntry{{
			Type:        client.ExporterOCI,
			Attrs:       map[string]string{"tar": "false", "compression": "uncompressed", "force-compression": "true"},
			OutputStore: out,
		}},
	}, status)
	<-done
	if err != nil {
		return nil, solveError(ctx, g, in, out, log, err)
	}
	return g.collect(out, digest.Digest(resp.ExporterResponse[exptypes.ExporterImageDigestKey]))
}

func solveError(ctx context.Context, g *Graph, in *source, out *receiver, log *failureLog, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if fault := cmp.Or(in.fault(), out.fault()); fault != nil {
		return fault
	}
	id, text := log.fault()
	if text != "" {
		err = errors.New(text)
	}
	return diag.Errorf(id, "", "building %q for %s: %w", g.Image.Name, g.Platform, err)
}

// collect matches what the engine exported with the graph: as many blobs as layers and
// inventories, each of which the receiver has checked and the store has.
func (g *Graph) collect(out *receiver, manifest digest.Digest) ([]Layer, error) {
	var m ocispecs.Manifest
	if err := json.Unmarshal(out.document(manifest), &m); err != nil {
		return nil, diag.Errorf(diag.BuildFailed, "", "reading the engine's manifest %s: %w", manifest, err)
	}
	if len(m.Layers) != 2*len(g.Layers) {
		return nil, diag.Errorf(diag.BuildFailed, "", "the engine gave %d blobs for %d layers and their inventories", len(m.Layers), len(g.Layers))
	}
	var layers []Layer
	for i, l := range g.Layers {
		diffID := m.Layers[i].Digest
		blob, ok := out.store.Find(out.encoding, diffID)
		inventory, ok2 := out.store.Find(out.encoding, m.Layers[len(g.Layers)+i].Digest)
		if !ok || !ok2 {
			return nil, diag.Errorf(diag.BuildFailed, "", "the engine names layer %s but did not send it", diffID)
		}
		layers = append(layers, Layer{
			Title: l.Title, Packages: l.Packages, MediaType: mediaType(out.encoding),
			Digest: blob.Digest, Size: blob.Size, DiffID: diffID, Path: out.store.BlobPath(blob.Digest),
			Inventory: inventory,
		})
	}
	return layers, nil
}

// failureLog keeps the end of what each vertex wrote, for the one that fails.
type failureLog struct {
	lines  map[digest.Digest][]string
	failed []digest.Digest
}

const (
	maxFailureLines = 20
	maxFailureBytes = 4096 // of one message
)

func newFailureLog() *failureLog { return &failureLog{lines: map[digest.Digest][]string{}} }

func (l *failureLog) add(s *client.SolveStatus) {
	for _, e := range s.Logs {
		for line := range strings.Lines(string(e.Data)) {
			kept := append(l.lines[e.Vertex], strings.TrimRight(line[:min(len(line), maxFailureBytes)], "\r\n"))
			l.lines[e.Vertex] = kept[max(0, len(kept)-maxFailureLines):]
		}
	}
	for _, v := range s.Vertexes {
		if v.Error != "" && !strings.Contains(v.Error, context.Canceled.Error()) {
			l.failed = append(l.failed, v.Digest)
		}
	}
}

// reported is how the layout program names its error's id.
var reported = regexp.MustCompile(`^layout: (?:(FE\d{3}): )?(.*)$`)

// fault is what the first vertex that failed wrote, and the id of the error it reports;
// the text is empty when none wrote anything.
func (l *failureLog) fault() (diag.ID, string) {
	for _, d := range l.failed {
		lines := l.lines[d]
		if len(lines) == 0 {
			continue
		}
		if m := reported.FindStringSubmatch(lines[len(lines)-1]); m != nil && diag.Lookup(diag.ID(m[1])).Title != "" {
			return diag.ID(m[1]), m[2]
		}
		return diag.BuildFailed, strings.Join(lines, "\n")
	}
	return diag.BuildFailed, ""
}
