// Package build turns locked images into bytes.
//
// NewGraph says, purely, what must be done: one layer for each group of packages and
// one for accounts, files and script effects, ancestors' layers first. Run has a
// BuildKit engine do it and takes nothing from the engine but uncompressed layers,
// whose digests it checks and which it encodes itself. Assemble adds forge's own
// config and manifest, and Join the index over platforms. So the bytes depend on the
// lock, the spec and this program, never on the engine, the machine or the day.
package build

import (
	"context"
	"slices"
	"sync"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Options say where and with what to build.
type Options struct {
	Engine   *client.Client
	Blobs    string                                                              // directory where the engine's blobs can be read, by SHA-256; "": it sends them
	Store    *Store                                                              // keeps encoded layers between builds
	Open     func(ctx context.Context, d digest.Digest) (path string, err error) // finds a package's or fetched file's verified bytes, when the engine asks for them
	Progress func(*client.SolveStatus)                                           // told what the engine does, one call at a time; nil: nobody
	Parallel int                                                                 // images built at once; less than 1 means 4
}

// Build runs graphs side by side and gives one Result an image name, in the order in
// which the names first come. On an error the others are stopped.
func Build(ctx context.Context, o Options, graphs []*Graph) ([]*Result, error) {
	images := make([]*Image, len(graphs))
	o.Progress = oneAtATime(o.Progress)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel(o.Parallel))
	for i, g := range graphs {
		group.Go(func() error {
			layers, err := Run(ctx, o, g)
			if err != nil {
				return err
			}
			images[i], err = Assemble(g.Image, g.Platform, g.Created, layers)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return joinByName(images)
}

func oneAtATime(f func(*client.SolveStatus)) func(*client.SolveStatus) {
	if f == nil {
		return nil
	}
	var mu sync.Mutex
	return func(s *client.SolveStatus) {
		mu.Lock()
		defer mu.Unlock()
		f(s)
	}
}

func parallel(n int) int {
	if n < 1 {
		return 4
	}
	return n
}

func joinByName(images []*Image) ([]*Result, error) {
	var names []string
	byName := map[string][]*Image{}
	for _, m := range images {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
		byName[m.Name] = append(byName[m.Name], m)
	}
	var results []*Result
	for _, name := range names {
		r, err := Join(byName[name])
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}
