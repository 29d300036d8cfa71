package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/moby/buildkit/util/db"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/grpcerrors"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // BuildKit's own codec, much faster than gRPC's
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
)

// daemon is BuildKit's controller with one worker, no frontends and no remote caches.
type daemon struct {
	controller *control.Controller
	worker     *boxWorker
}

func newDaemon(ctx context.Context, s settings) (_ *daemon, err error) {
	v := Version(s.Version)
	version.Package, version.Version, version.Revision = v.Package, v.Version, v.Revision
	apicaps.ExportedProduct = "buildkit"

	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	lasting := context.WithoutCancel(ctx) // builds may go on for a while after ctx
	w, err := newWorker(lasting, s)
	if err != nil {
		return nil, err
	}
	closer := &closers{}
	closer.add(w.close)
	closer.add(w.Close)
	defer func() {
		if err != nil {
			err = errors.Join(err, closer.close())
		}
	}()
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return nil, err
	}
	cacheDB, historyDB, err := openCacheDBs(filepath.Join(s.StateDir, cacheName), closer)
	if err != nil {
		return nil, err
	}
	c, err := control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		CacheManager:     solver.NewCacheManager(lasting, "local", cacheDB, worker.NewCacheResultStorage(workers)),
		MeterProvider:    noop.NewMeterProvider(),
		HistoryDB:        historyDB,
		CacheStore:       cacheDB,
		LeaseManager:     w.LeaseManager(),
		ContentStore:     w.ContentStore(),
		HistoryConfig:    &config.HistoryConfig{},
		GarbageCollect:   w.GarbageCollect,
		GracefulStop:     ctx.Done(),
	})
	if err != nil {
		return nil, err
	}
	return &daemon{controller: c, worker: w}, nil
}

// openCacheDBs opens the solver's cache keys and the history of builds.
func openCacheDBs(root string, closer *closers) (*bboltcachestorage.Store, db.DB, error) {
	cacheDB, err := bboltcachestorage.NewStore(filepath.Join(root, "cache.db"))
	if err != nil {
		return nil, nil, fmt.Errorf("opening the build cache: %w", err)
	}
	closer.add(cacheDB.Close)
	historyDB, err := boltutil.SafeOpen(filepath.Join(root, "history.db"), 0o600, unsynced())
	if err != nil {
		return nil, nil, fmt.Errorf("opening the build history: %w", err)
	}
	closer.add(historyDB.Close)
	return cacheDB, historyDB, nil
}

func (d *daemon) close() error {
	return errors.Join(d.controller.Close(), d.worker.close())
}

// serverOptions are buildkitd's.
func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	}
}
