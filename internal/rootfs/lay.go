package rootfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"

	"forge/internal/debian/deb"
)

// Input is an open input file, verified to be the one that was asked for.
type Input interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Inputs opens a plan's inputs by their SHA-256 in hex.
type Inputs func(sha256 string) (Input, error)

// Lay carries out a plan: it puts every path of the layer into the sink and gives the
// layer's entries, sorted by path. below are the layers under a finish layer. The
// entries depend on plan and inputs only, not on the number of workers.
func Lay(plan *Plan, in Inputs, below Below, sink Sink, workers int) ([]Entry, error) {
	if err := plan.check(); err != nil {
		return nil, err
	}
	var entries []Entry
	var made []generated
	var err error
	if plan.Finish != nil {
		entries, made, err = finish(plan.Finish, in, below)
	} else {
		var listings []*Listing
		if listings, err = readAll(plan, in, sink, max(1, workers)); err == nil {
			entries, made, err = merge(plan, listings)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, g := range made {
		if err := g.put(sink); err != nil {
			return nil, err
		}
	}
	return entries, sink.Close(entries)
}

func (g *generated) put(sink Sink) error {
	switch {
	case g.entry.Type != TypeFile:
		return sink.Put(0, &g.entry, nil)
	case g.open == nil:
		return sink.Put(0, &g.entry, bytes.NewReader(g.content))
	}
	in, err := g.open()
	if err != nil {
		return err
	}
	defer in.Close()
	return sink.Put(0, &g.entry, io.NewSectionReader(in, 0, in.Size()))
}

// readAll reads the packages, several at once, the largest first.
func readAll(plan *Plan, in Inputs, sink Sink, workers int) ([]*Listing, error) {
	keep, err := keeper(plan)
	if err != nil {
		return nil, err
	}
	inputs := make([]Input, len(plan.Packages))
	defer func() {
		for _, f := range inputs {
			if f != nil {
				f.Close()
			}
		}
	}()
	order := make([]int, len(inputs))
	for i, p := range plan.Packages {
		order[i] = i
		if inputs[i], err = in(p.SHA256); err != nil {
			return nil, fmt.Errorf("package %q: %w", p.Name, err)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(inputs[b].Size(), inputs[a].Size()) })

	listings := make([]*Listing, len(inputs))
	faults := make([]error, len(inputs))
	queue := make(chan int, len(order))
	for _, i := range order {
		queue <- i
	}
	close(queue)
	var wg sync.WaitGroup
	for lane := range workers {
		wg.Go(func() {
			for i := range queue {
				listings[i], faults[i] = readOne(plan.Packages[i], inputs[i], keep, sink, lane)
			}
		})
	}
	wg.Wait()
	for _, err := range faults {
		if err != nil {
			return nil, err // the plan's first, whichever failed first
		}
	}
	return listings, nil
}

func readOne(want PlanPackage, in Input, keep func(*Entry) bool, sink Sink, lane int) (*Listing, error) {
	p, err := deb.Open(in, in.Size())
	if err != nil {
		return nil, fmt.Errorf("package %q: %w", want.Name, err)
	}
	if name, arch := p.Field("Package"), p.Field("Architecture"); name != want.Name || arch != want.Arch {
		return nil, refuse("package %q of %s: the file holds %q of %s", want.Name, want.Arch, name, arch)
	}
	return list(p, keep, sink, lane)
}
