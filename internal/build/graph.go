package build

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// Where the layout program finds things inside its exec. They are part of the cache
// key, so they name nothing of any machine.
const (
	helperDir     = "/forge"
	planDir       = "/plan"
	inputDir      = "/in"
	outDir        = "/out"
	inventoryDir  = "/inv"
	lowerDir      = "/lower"
	blobName      = "blob"
	inventoryName = "inventory.json"
)

// storeID names, towards the engine, the content store that serves the inputs.
const storeID = "forge"

// Input is everything that determines the layers of one image on one platform.
type Input struct {
	Set      *spec.Set
	Lock     *lock.File
	Image    string
	Platform string                   // what the image is for, "linux/arm64"
	Engine   string                   // what the engine runs on: the layout program is executed there
	Helper   []byte                   // the layout program, built for Engine
	Effects  map[string][]spec.Effect // what a package's scripts would have done, by the package's SHA-256
}

// Graph is what an engine must do for one image on one platform.
type Graph struct {
	Image    *spec.Image
	Platform string
	Created  time.Time    // stands in config and history, from the lock
	Layers   []GraphLayer // bottom first; an ancestor's come before its children's
	Blobs    []Blob       // every input, by digest

	engine string
}

// GraphLayer is one layer to be.
type GraphLayer struct {
	Image    string   // the image of the lineage that the layer belongs to
	Title    string   // "packages 1/4" or "accounts, files, effects"
	Packages []string // "name=version", sorted; empty for a finish layer
	Plan     rootfs.Plan

	content   llb.State // the layer's tree
	inventory llb.State // holds inventory.json about it
}

// Blob is one input. Data is nil for what the caller has in files: packages and
// fetched template files.
type Blob struct {
	Digest digest.Digest
	Data   []byte
}

// NewGraph works out the graph of one image. It is pure: equal inputs give equal
// graphs, and an ancestor's layers are the same vertices in its own graph as in its
// children's, so that an engine lays them out once. A lock without the image or one
// of its ancestors is diag.LockMissing.
func NewGraph(in Input) (*Graph, error) {
	lineage := in.Set.Lineage(in.Image)
	if len(lineage) == 0 {
		return nil, diag.Errorf(diag.UnknownTemplate, "", "no template %q", in.Image)
	}
	g := &grapher{in: in, helper: digest.FromBytes(in.Helper), blobs: map[digest.Digest][]byte{}}
	var layers []GraphLayer
	for _, img := range lineage {
		locked := findLocked(in.Lock, img.Name, in.Platform)
		if locked == nil {
			return nil, diag.Errorf(diag.LockMissing, "", "the lock has no %q for %s", img.Name, in.Platform)
		}
		own, err := g.image(img, locked, layers)
		if err != nil {
			return nil, fmt.Errorf("planning image %q: %w", img.Name, err)
		}
		layers = append(layers, own...)
	}
	created, err := time.Parse(time.RFC3339, findLocked(in.Lock, in.Image, in.Platform).Created)
	if err != nil {
		return nil, diag.Errorf(diag.LockMalformed, "", "reading when %q for %s was created: %w", in.Image, in.Platform, err)
	}
	return &Graph{
		Image: lineage[len(lineage)-1], Platform: in.Platform, Created: created,
		Layers: layers, Blobs: g.sorted(), engine: in.Engine,
	}, nil
}

func findLocked(f *lock.File, name, platform string) *lock.Image {
	i := slices.IndexFunc(f.Images, func(m lock.Image) bool { return m.Name == name && m.Platform == platform })
	if i < 0 {
		return nil
	}
	return &f.Images[i]
}

// Definition marshals the graph for an engine: the merge of all layers, bottom first,
// then of their inventories in the same order. The merge is never laid out; it only
// makes the engine give each of them as one blob.
func (g *Graph) Definition(ctx context.Context) (*llb.Definition, error) {
	var states []llb.State
	for _, l := range g.Layers {
		states = append(states, l.content)
	}
	for _, l := range g.Layers {
		states = append(states, l.inventory)
	}
	platform, err := platforms.Parse(g.engine)
	if err != nil {
		return nil, fmt.Errorf("reading the engine's platform %q: %w", g.engine, err)
	}
	name := fmt.Sprintf("[%s %s] layers", g.Image.Name, g.Platform)
	// Without a fixed unique id, each marshalling draws a random one.
	return llb.Merge(states, llb.WithCustomName(name)).
		Marshal(ctx, llb.Platform(platform), llb.LocalUniqueID("forge"))
}

// readonly mounts an input. Its digest says all about it, so the engine need not read
// it to see whether an exec is known already.
var readonly = []llb.MountOption{llb.Readonly, llb.ContentCache(llb.MountContentCacheOff)}

type grapher struct {
	in     Input
	helper digest.Digest
	blobs  map[digest.Digest][]byte
}

// inputFile is a file that a layer's exec reads, with a name for people.
type inputFile struct {
	sha256 string
	name   string
}

func (g *grapher) sorted() []Blob {
	var out []Blob
	for d, data := range g.blobs {
		out = append(out, Blob{d, data})
	}
	slices.SortFunc(out, func(a, b Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return out
}

// image gives one image's own layers, which lie on those below.
func (g *grapher) image(img *spec.Image, locked *lock.Image, below []GraphLayer) ([]GraphLayer, error) {
	var own []GraphLayer
	groups := packageGroups(locked)
	for i, packages := range groups {
		if len(packages) == 0 {
			continue
		}
		title := fmt.Sprintf("packages %d/%d", i+1, len(groups))
		l, err := g.packageLayer(img, locked, title, packages)
		if err != nil {
			return nil, err
		}
		own = append(own, l)
	}
	finish, err := g.finishLayer(img, locked, slices.Concat(below, own))
	return append(own, finish), err
}

// packageGroups spreads an image's packages over its fixed number of groups by the
// FNV-1a hash of their names: a package that comes, goes or moves to another version
// changes its own group only.
func packageGroups(locked *lock.Image) [][]lock.Package {
	groups := make([][]lock.Package, max(1, locked.Groups))
	for _, p := range locked.Packages {
		h := fnv.New32a()
		h.Write([]byte(p.Name))
		i := h.Sum32() % uint32(len(groups))
		groups[i] = append(groups[i], p)
	}
	return groups
}

func (g *grapher) packageLayer(img *spec.Image, locked *lock.Image, title string, packages []lock.Package) (GraphLayer, error) {
	plan := rootfs.Plan{Version: rootfs.PlanVersion, Prune: img.Packages.Prune}
	l := GraphLayer{Image: img.Name, Title: title}
	var inputs []inputFile
	for _, p := range packages {
		plan.Packages = append(plan.Packages, rootfs.PlanPackage{Name: p.Name, Arch: p.Arch, SHA256: p.SHA256})
		for _, d := range locked.Drops {
			if d.Package != p.Name {
				continue
			}
			if plan.Drop == nil {
				plan.Drop = map[string][]string{}
			}
			plan.Drop[p.Name] = append(plan.Drop[p.Name], "/"+strings.TrimPrefix(d.Path, "/"))
		}
		l.Packages = append(l.Packages, p.Name+"="+p.Version)
		inputs = append(inputs, inputFile{p.SHA256, p.Name + " " + p.Version})
	}
	l.Plan = plan
	return g.layer(l, fmt.Sprintf("%s (%d)", title, len(packages)), inputs, nil)
}

func (g *grapher) finishLayer(img *spec.Image, locked *lock.Image, lower []GraphLayer) (GraphLayer, error) {
	finish := &rootfs.Finish{
		Users: img.Users, Groups: img.Groups, Files: img.Files, Directories: img.Directories, Symlinks: img.Symlinks,
		Restore: locked.Restore,
	}
	for _, p := range locked.Packages {
		finish.Effects = append(finish.Effects, g.in.Effects[p.SHA256]...)
	}
	var inputs []inputFile
	for _, f := range img.Files {
		d := digest.NewDigestFromEncoded(digest.SHA256, f.SHA256)
		if f.URL == "" {
			g.blobs[d] = nonNil(f.Content)
		}
		if !slices.ContainsFunc(inputs, func(i inputFile) bool { return i.sha256 == f.SHA256 }) {
			inputs = append(inputs, inputFile{f.SHA256, f.Path})
		}
	}
	l := GraphLayer{Image: img.Name, Title: "accounts, files, effects", Plan: rootfs.Plan{Version: rootfs.PlanVersion, Finish: finish}}
	return g.layer(l, l.Title, inputs, lower)
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// layer completes l with the exec that makes it: the layout program in an empty root,
// without network, given its plan, the inputs and the layers below.
func (g *grapher) layer(l GraphLayer, name string, inputs []inputFile, lower []GraphLayer) (GraphLayer, error) {
	plan, err := json.Marshal(l.Plan)
	if err != nil {
		return GraphLayer{}, fmt.Errorf("marshalling a plan: %w", err)
	}
	label := fmt.Sprintf("[%s %s]", l.Image, g.in.Platform)
	args := []string{path.Join(helperDir, blobName), path.Join(planDir, blobName), inputDir, outDir, path.Join(inventoryDir, inventoryName)}
	opts := []llb.RunOption{
		llb.WithCustomName(label + " " + name),
		llb.Network(pb.NetMode_NONE),
		llb.AddMount(helperDir, g.blob(label, "layout program", g.helper, g.in.Helper, 0o755), readonly...),
		llb.AddMount(planDir, g.blob(label, "plan", digest.FromBytes(plan), plan, 0o644), readonly...),
	}
	for _, i := range inputs {
		d := digest.NewDigestFromEncoded(digest.SHA256, i.sha256)
		if err := d.Validate(); err != nil {
			return GraphLayer{}, fmt.Errorf("input %q: %w", i.name, err)
		}
		opts = append(opts, llb.AddMount(path.Join(inputDir, i.sha256), g.blob(label, i.name, d, g.blobs[d], 0o644), readonly...))
	}
	for i, below := range lower {
		dir := path.Join(lowerDir, fmt.Sprint(i))
		args = append(args, dir)
		opts = append(opts, llb.AddMount(dir, below.content, readonly...))
	}
	run := llb.Scratch().Run(append(opts, llb.Args(args))...)
	l.content = run.AddMount(outDir, llb.Scratch())
	l.inventory = run.AddMount(inventoryDir, llb.Scratch())
	return l, nil
}

// blob is an input as a directory that holds it as one file.
func (g *grapher) blob(label, name string, d digest.Digest, data []byte, mode fs.FileMode) llb.State {
	g.blobs[d] = data
	return llb.OCILayoutBlob("forge.local/input@"+d.String(),
		llb.ImageBlobOCIStore("", storeID), // any session of the solve; naming one would change the vertex each time
		llb.Filename(blobName), llb.Chmod(mode),
		llb.WithCustomName(label+" "+name),
		llb.ProgressGroup("inputs "+label, label+" inputs", true))
}
