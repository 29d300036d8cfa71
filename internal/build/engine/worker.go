package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/diff/apply"
	ctdmetadata "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/winlayers"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	wlabel "github.com/moby/buildkit/worker/label"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

const ctdNamespace = "buildkit"

// boxWorker is BuildKit's worker, held to what the embedded engine is for.
type boxWorker struct {
	*base.Worker
	close func() error // the databases that Worker does not close itself
}

// newWorker assembles a worker as BuildKit's own worker/runc does, with three
// differences: commands run in a box, databases and content are not synced, and
// network and devices do not exist.
func newWorker(ctx context.Context, c settings) (_ *boxWorker, err error) {
	root := filepath.Join(c.StateDir, cacheName)
	closer := &closers{}
	defer func() {
		if err != nil {
			err = errors.Join(err, closer.close())
		}
	}()
	mdb, snapshotter, err := openContainerd(ctx, root, closer)
	if err != nil {
		return nil, fmt.Errorf("opening snapshots and content: %w", err)
	}
	id, err := base.ID(root)
	if err != nil {
		return nil, err
	}
	md, err := metadata.NewStore(filepath.Join(root, "metadata_v2.db"))
	if err != nil {
		return nil, fmt.Errorf("opening metadata: %w", err)
	}
	if b, ok := md.DB().(*bolt.DB); ok {
		b.NoSync = true
	}
	cs := containerdsnapshot.NewContentStore(mdb.ContentStore(), ctdNamespace)
	w, err := base.NewWorker(ctx, base.WorkerOpt{
		ID:               id,
		Root:             root,
		Labels:           map[string]string{wlabel.Executor: "box", wlabel.Snapshotter: snapshotter},
		Platforms:        []ocispecs.Platform{platforms.Normalize(platforms.DefaultSpec())},
		GCPolicy:         gcPolicy(c.MaxDisk),
		BuildkitVersion:  Version(c.Version),
		NetworkProviders: map[pb.NetMode]network.Provider{pb.NetMode_NONE: network.NewNoneProvider()},
		Executor:         &boxExecutor{stage: filepath.Join(c.StateDir, tempName, "stage")},
		Snapshotter:      containerdsnapshot.NewSnapshotter(snapshotter, mdb.Snapshotter(snapshotter), ctdNamespace, nil),
		ContentStore:     cs,
		Applier:          winlayers.NewFileSystemApplierWithWindows(cs, apply.NewFileSystemApplier(cs)),
		Differ:           winlayers.NewWalkingDiffWithWindows(cs, walking.NewWalkingDiff(cs)),
		LeaseManager:     leaseutil.WithNamespace(ctdmetadata.NewLeaseManager(mdb), ctdNamespace),
		GarbageCollect:   mdb.GarbageCollect,
		MetadataStore:    md,
		MountPoolRoot:    filepath.Join(root, "cachemounts"),
	})
	if err != nil {
		return nil, errors.Join(err, md.Close())
	}
	return &boxWorker{Worker: w, close: closer.close}, nil
}

// openContainerd opens what containerd would keep for a worker: snapshots, content and
// the database over both. It returns the snapshotter's name.
func openContainerd(ctx context.Context, root string, closer *closers) (*ctdmetadata.DB, string, error) {
	snapshotter, name, err := newSnapshotter(filepath.Join(root, "snapshots"))
	if err != nil {
		return nil, "", err
	}
	closer.add(snapshotter.Close)
	store, err := newUnsyncedStore(filepath.Join(root, contentName))
	if err != nil {
		return nil, "", err
	}
	db, err := bolt.Open(filepath.Join(root, "containerdmeta.db"), 0o600, unsynced())
	if err != nil {
		return nil, "", err
	}
	closer.add(db.Close)
	mdb := ctdmetadata.NewDB(db, store, map[string]snapshots.Snapshotter{name: snapshotter})
	return mdb, name, mdb.Init(ctx)
}

// newSnapshotter takes overlayfs where the state directory allows it, and plain copies
// elsewhere; the digests are the same.
func newSnapshotter(root string) (snapshots.Snapshotter, string, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, "", err
	}
	if overlayutils.Supported(root) != nil {
		s, err := native.NewSnapshotter(root)
		return s, "native", err
	}
	ms, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"), func(o *bolt.Options) error {
		o.NoSync = true
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	s, err := overlay.NewSnapshotter(root, overlay.WithMetaStore(ms), overlay.AsynchronousRemove)
	return s, "overlayfs", err
}

func unsynced() *bolt.Options {
	return &bolt.Options{FreelistType: bolt.FreelistMapType, NoSync: true}
}

// minFree is the disk space in bytes that the cache gives way to.
const minFree = 1_000_000_000

// gcPolicy bounds the cache; BuildKit applies it after builds, at most once a minute.
func gcPolicy(maxDisk int64) []client.PruneInfo {
	return []client.PruneInfo{{All: true, MaxUsedSpace: maxDisk, MinFreeSpace: minFree}}
}

// Platforms is the machine's own: BuildKit would try out emulators on every question.
func (w *boxWorker) Platforms(bool) []ocispecs.Platform { return w.WorkerOpt.Platforms }

// ResolveOp refuses commands that the box does not run, before anything is done for them.
func (w *boxWorker) ResolveOp(v solver.Vertex, s frontend.FrontendLLBBridge, sm *session.Manager, proxy worker.ProxyOpt) (solver.Op, error) {
	if op, ok := v.Sys().(*pb.Op); ok {
		if e := op.GetExec(); e != nil {
			if err := refuse(e); err != nil {
				return nil, fmt.Errorf("%s: %w", v.Name(), err)
			}
		}
	}
	return w.Worker.ResolveOp(v, s, sm, proxy)
}

func refuse(e *pb.ExecOp) error {
	if e.Network != pb.NetMode_NONE {
		return errRefused("a network")
	}
	if e.Security != pb.SecurityMode_SANDBOX {
		return errRefused("privileges")
	}
	if len(e.Secretenv) > 0 {
		return errRefused("secrets")
	}
	if len(e.CdiDevices) > 0 {
		return errRefused("devices")
	}
	for _, m := range e.Mounts {
		if m.MountType != pb.MountType_BIND && m.MountType != pb.MountType_TMPFS {
			return errRefused(fmt.Sprintf("a %s mount", m.MountType))
		}
	}
	return nil
}

func errRefused(what string) error {
	return fmt.Errorf("a build step asks for %s: the embedded engine runs only forge's layout program, without network; use --engine for others", what)
}

// closers closes what was opened, last first.
type closers struct{ fns []func() error }

func (c *closers) add(fn func() error) { c.fns = append(c.fns, fn) }

func (c *closers) close() error {
	var errs []error
	for i := len(c.fns) - 1; i >= 0; i-- {
		errs = append(errs, c.fns[i]())
	}
	c.fns = nil
	return errors.Join(errs...)
}
