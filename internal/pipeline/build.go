package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"forge/internal/build"
	"forge/internal/build/engine"
	"forge/internal/build/helper"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// Build makes the named images (none named: all) on all their platforms, or on those
// given. The lock must be fresh; a digest that differs from the lock's expected one is
// diag.DigestDiffers.
func (h *Host) Build(ctx context.Context, set *spec.Set, f *lock.File, names, onPlatforms []string) ([]*build.Result, error) {
	b, err := h.builder(ctx, set, f, names)
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.build(ctx, names, onPlatforms)
}

// Graphs gives what Build would have the engine do.
func (h *Host) Graphs(ctx context.Context, set *spec.Set, f *lock.File, names, onPlatforms []string) ([]*build.Graph, error) {
	b, err := h.builder(ctx, set, f, names)
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.graphs(ctx, names, onPlatforms)
}

// Inventory gives what a built layer holds, as the layout program told it.
func (h *Host) Inventory(l build.Layer) ([]rootfs.Entry, error) {
	store, err := build.OpenStore(h.layers())
	if err != nil {
		return nil, err
	}
	return store.Inventory(l)
}

// layers is where encoded layers are kept.
func (h *Host) layers() string { return filepath.Join(h.Cache, "layers") }

// graphs prepares what is named, parents before children.
func (b *builder) graphs(ctx context.Context, names, onPlatforms []string) ([]*build.Graph, error) {
	targets := b.targets(names, onPlatforms)
	if len(targets) == 0 {
		return nil, diag.Errorf(diag.Usage, "", "no template is for %s", strings.Join(onPlatforms, " or "))
	}
	if err := b.prepare(ctx, targets); err != nil {
		return nil, err
	}
	var graphs []*build.Graph
	for _, t := range targets {
		g, err := b.graph(t)
		if err != nil {
			return nil, err
		}
		graphs = append(graphs, g)
	}
	return graphs, nil
}

// build makes images, parents before children.
func (b *builder) build(ctx context.Context, names, onPlatforms []string) ([]*build.Result, error) {
	graphs, err := b.graphs(ctx, names, onPlatforms)
	if err != nil {
		return nil, err
	}
	display, done := b.host.Watch("building")
	b.options.Progress = display
	results, err := build.Build(ctx, b.options, graphs)
	done()
	if err != nil {
		return nil, err
	}
	return results, b.compare(results)
}

func (b *builder) graph(t target) (*build.Graph, error) {
	g, err := build.NewGraph(build.Input{
		Set: b.set, Lock: b.lock, Image: t.name, Platform: t.platform,
		Engine: b.runs, Helper: b.helper, Effects: b.effects,
	})
	if err != nil {
		return nil, fmt.Errorf("image %q on %s: %w", t.name, t.platform, err)
	}
	return g, nil
}

func checkNames(set *spec.Set, names []string) error {
	for _, n := range names {
		if set.Image(n) == nil {
			return diag.Errorf(diag.UnknownTemplate, "", "no template %q in the directory", n)
		}
	}
	return nil
}

// builder is what every image of one build shares.
type builder struct {
	host    *Host
	set     *spec.Set
	lock    *lock.File
	files   packageFiles
	options build.Options
	runs    string // the engine's own platform
	version string // the engine's BuildKit
	helper  []byte
	inputs  map[digest.Digest]lock.Package
	urls    map[digest.Digest]spec.File
	effects map[string][]spec.Effect // by package SHA-256
}

// builder gathers what a build needs, after checking that the lock is fresh for the
// named images.
func (h *Host) builder(ctx context.Context, set *spec.Set, f *lock.File, names []string) (*builder, error) {
	if err := checkNames(set, names); err != nil {
		return nil, err
	}
	if err := f.Fresh(set, names...); err != nil {
		return nil, err
	}
	archives, err := h.archives()
	if err != nil {
		return nil, err
	}
	b := &builder{host: h, set: set, lock: f, files: archiveFiles(archives, set, f),
		inputs: map[digest.Digest]lock.Package{}, urls: map[digest.Digest]spec.File{}}
	for _, m := range f.Images {
		for _, p := range m.Packages {
			b.inputs[digest.NewDigestFromEncoded(digest.SHA256, p.SHA256)] = p
		}
	}
	for _, m := range set.Images {
		for _, file := range m.Files {
			if file.URL != "" {
				b.urls[digest.NewDigestFromEncoded(digest.SHA256, file.SHA256)] = file
			}
		}
	}
	b.options.Open = func(ctx context.Context, d digest.Digest) (string, error) {
		if p, ok := b.inputs[d]; ok {
			return archives.Package(ctx, set, f, p)
		}
		if file, ok := b.urls[d]; ok {
			return archives.Download(ctx, file.URL, file.SHA256)
		}
		return "", fmt.Errorf("the engine asked for %s, which is no input", d)
	}
	if b.options.Store, err = build.OpenStore(h.layers()); err != nil {
		return nil, err
	}
	return b, nil
}

// close ends the connection to the engine, where one was made.
func (b *builder) close() {
	if b.options.Engine != nil {
		b.options.Engine.Close()
	}
}

// prepare connects to the engine while the packages of the targets are fetched and read.
func (b *builder) prepare(ctx context.Context, targets []target) error {
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := b.dial(ctx); err != nil { // its connection outlives the group
			return err
		}
		return b.ask(ctx)
	})
	group.Go(func() error { return b.readEffects(reading, targets) })
	return group.Wait()
}

// dial connects to the engine, starting the embedded one where it is needed.
func (b *builder) dial(ctx context.Context) (err error) {
	if b.host.Engine != "" {
		b.options.Engine, err = engine.Dial(ctx, b.host.Engine, b.host.TLS)
		return err
	}
	endpoint, err := engine.Start(ctx, b.host.EngineOptions())
	if err != nil {
		return err
	}
	b.options.Blobs = endpoint.Blobs
	b.options.Engine, err = engine.Dial(ctx, endpoint.Address, engine.DialOptions{})
	return err
}

// EngineOptions say where the embedded engine of this host lives.
func (h *Host) EngineOptions() engine.Options {
	return engine.Options{
		StateDir: filepath.Join(h.Cache, "engine"),
		Exe:      h.Exe,
		Env:      h.Environ,
		UID:      h.UID,
		Version:  h.Version,
	}
}

// ask finds out what the engine is, and the layout program for the platform that it
// runs programs on.
func (b *builder) ask(ctx context.Context) error {
	workers, err := b.options.Engine.ListWorkers(ctx)
	if err != nil {
		return diag.Errorf(diag.EngineConnect, "", "asking the engine for its platform: %w", err)
	}
	for _, w := range workers {
		b.version = w.BuildkitVersion.Version
		for _, p := range w.Platforms {
			program, _, err := helper.Layout(p.Architecture)
			if p.OS == "linux" && err == nil {
				b.runs, b.helper = platforms.Format(platforms.Normalize(p)), program
				return nil
			}
		}
	}
	return diag.Errorf(diag.EngineConnect, "Use an engine on linux/amd64 or linux/arm64.", "the engine runs on no platform that the layout program is built for")
}

// target is one image on one platform.
type target struct{ name, platform string }

// targets lists what is to be built; no names or no platforms mean all.
func (b *builder) targets(names, onPlatforms []string) []target {
	var all []target
	for _, m := range b.set.Images {
		if len(names) > 0 && !slices.Contains(names, m.Name) {
			continue
		}
		for _, platform := range m.Platforms {
			if len(onPlatforms) == 0 || slices.Contains(onPlatforms, platform) {
				all = append(all, target{m.Name, platform})
			}
		}
	}
	return all
}

// readEffects finds the effects of every package of the targets, in one go, so that
// what must be fetched is fetched side by side.
func (b *builder) readEffects(ctx context.Context, targets []target) error {
	var packages []lock.Package
	for _, t := range targets {
		packages = append(packages, lineagePackages(b.set, b.lock, t)...)
	}
	slices.SortFunc(packages, func(x, y lock.Package) int { return strings.Compare(x.SHA256, y.SHA256) })
	packages = slices.CompactFunc(packages, func(x, y lock.Package) bool { return x.SHA256 == y.SHA256 })
	effects, err := b.host.effectsOf(ctx, b.files, b.set, packages)
	b.effects = effects
	return err
}

// lineagePackages gives the packages of a target, its ancestors' first.
func lineagePackages(set *spec.Set, f *lock.File, t target) []lock.Package {
	var packages []lock.Package
	for _, m := range set.Lineage(t.name) {
		if pin := f.Find(m.Name, t.platform); pin != nil {
			packages = append(packages, pin.Packages...)
		}
	}
	return packages
}

// created is the date that an image carries.
func (b *builder) created(name, platform string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, b.lock.Find(name, platform).Created)
	if err != nil {
		return t, diag.Errorf(diag.LockMalformed, "", "reading the creation date of %q: %w", name, err)
	}
	return t, nil
}

// compare holds results to what the lock expects of them.
func (b *builder) compare(results []*build.Result) error {
	for _, r := range results {
		for _, m := range r.Images {
			if expected := b.lock.ExpectedOf(r.Name, m.Platform); expected != nil {
				if err := b.options.Store.Check(m, *expected); err != nil {
					return err
				}
			}
		}
		whole := len(r.Images) == len(b.set.Image(r.Name).Platforms)
		if expected := b.lock.ExpectedOf(r.Name, ""); expected != nil && whole {
			if err := r.CheckIndex(*expected); err != nil {
				return err
			}
		}
	}
	return nil
}

// prove holds every layer of the results, path by path, to what the locked packages and
// the templates give: an engine's word alone is never signed.
func (b *builder) prove(ctx context.Context, results []*build.Result) error {
	for _, r := range results {
		for _, m := range r.Images {
			t := target{r.Name, m.Platform}
			g, err := b.graph(t)
			if err != nil {
				return err
			}
			pins := lineagePackages(b.set, b.lock, t)
			read, err := b.host.contentsOf(ctx, b.files, pins)
			if err != nil {
				return err
			}
			listings := map[string]*rootfs.Listing{}
			for i, p := range pins {
				listings[p.SHA256] = read[i].Listing
			}
			if err := build.Prove(ctx, b.options, g, m, listings); err != nil {
				return err
			}
		}
	}
	return nil
}

// Record builds every image of a lock, holds each layer to its packages and templates,
// and puts the digests into the lock as expected, in place of those that were there.
func (h *Host) Record(ctx context.Context, set *spec.Set, f *lock.File) ([]*build.Result, error) {
	f.Expected = nil
	b, err := h.builder(ctx, set, f, nil)
	if err != nil {
		return nil, err
	}
	defer b.close()
	results, err := b.build(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := b.prove(ctx, results); err != nil {
		return nil, err
	}
	record(f, results)
	return results, nil
}

// record puts what a build gave into the lock.
func record(f *lock.File, results []*build.Result) {
	for _, r := range results {
		f.Expected = slices.DeleteFunc(f.Expected, func(e lock.Expected) bool { return e.Name == r.Name })
		f.Expected = append(f.Expected, lock.Expected{Name: r.Name, Manifest: r.Digest().String()})
		for _, m := range r.Images {
			e := lock.Expected{Name: r.Name, Platform: m.Platform, Manifest: m.Digest().String()}
			for _, l := range m.Layers {
				e.DiffIDs = append(e.DiffIDs, l.DiffID.String())
			}
			f.Expected = append(f.Expected, e)
		}
	}
}
