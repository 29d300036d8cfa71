package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"forge/internal/diag"
)

// settings is what a forge tells the engine it starts, as the JSON argument of Serve.
type settings struct {
	StateDir string        `json:"stateDir"`
	IdleExit time.Duration `json:"idleExit"`
	MaxDisk  int64         `json:"maxDisk"`
	Version  string        `json:"version"`
	Rootless bool          `json:"rootless"`
	Unmapped bool          `json:"unmapped"` // started in a user namespace that has no ids yet
}

// Descriptors an engine is started with, and what it says on the first.
const (
	reportFD = 3 // written once by the engine: what became of the start
	mappedFD = 4 // written once by the parent: the user namespace has its ids
	ready    = "ready"
	held     = "held"
)

// spawn starts an engine and waits for its report. It returns errHeld if another
// engine was quicker.
func spawn(ctx context.Context, o Options) error {
	var ids idMaps
	if o.UID != 0 {
		var err error
		if ids, err = rootlessIDs(o.UID); err != nil {
			return err
		}
	}
	log, err := openLog(o.StateDir)
	if err != nil {
		return diag.Errorf(diag.Disk, "", "opening the engine's log: %w", err)
	}
	defer log.Close()
	report, reportW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer report.Close()
	mappedR, mapped, err := os.Pipe()
	if err != nil {
		return errors.Join(err, reportW.Close())
	}
	defer mapped.Close()
	cmd, err := command(o, log, reportW, mappedR)
	if err == nil {
		err = cmd.Start()
	}
	if err := errors.Join(reportW.Close(), mappedR.Close()); err != nil {
		return err
	}
	if err != nil {
		return spawnError(o, err)
	}
	go func() { _ = cmd.Wait() }() // reaped should it leave before this process
	if o.UID != 0 {
		if err := ids.write(ctx, cmd.Process.Pid); err != nil {
			return err
		}
		if _, err := mapped.Write([]byte{1}); err != nil {
			return startError(o.StateDir, err)
		}
	}
	return readReport(ctx, o.StateDir, report)
}

func command(o Options, log, report, mapped *os.File) (*exec.Cmd, error) {
	c := settings{
		StateDir: o.StateDir, IdleExit: o.IdleExit, MaxDisk: o.MaxDisk, Version: o.Version,
		Rootless: o.UID != 0, Unmapped: o.UID != 0,
	}
	arg, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	// A mount namespace of its own, so that nothing the engine mounts outlives it; a
	// session of its own, so that Ctrl-C at one forge does not reach it.
	attr := &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS}
	if o.UID != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	return &exec.Cmd{
		Path:        o.Exe,
		Args:        append(append([]string{o.Exe}, o.Args...), string(arg)),
		Env:         append(o.Env[:len(o.Env):len(o.Env)], "TMPDIR="+filepath.Join(o.StateDir, tempName)),
		Dir:         "/",
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{report, mapped},
		SysProcAttr: attr,
	}, nil
}

func spawnError(o Options, err error) error {
	refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)
	if refused && o.UID != 0 {
		return diag.Errorf(diag.EngineRootless, "Allow user namespaces for this program, or use --engine.",
			"starting the rootless engine: this machine refuses user namespaces: %w", err)
	}
	if refused {
		return diag.Errorf(diag.EngineStart, "Run the container with CAP_SYS_ADMIN, or use --engine.",
			"starting the embedded engine: this root may not make mount namespaces: %w", err)
	}
	return diag.Errorf(diag.EngineStart, "", "starting the embedded engine: %w", err)
}

func readReport(ctx context.Context, stateDir string, report *os.File) error {
	if d, ok := ctx.Deadline(); ok {
		if err := report.SetReadDeadline(d); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(report, 4096))
	switch text := string(b); {
	case text == ready:
		return nil
	case text == held:
		return errHeld
	case text != "":
		return startError(stateDir, errors.New(text))
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case err != nil:
		return startError(stateDir, err)
	}
	return startError(stateDir, errors.New("the engine left without a word"))
}

// idMaps are the arguments of newuidmap and newgidmap after the process id.
type idMaps struct{ uid, gid []string }

const neededIDs = 65536

// rootlessIDs finds the user's subordinate ids.
func rootlessIDs(uid int) (idMaps, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return idMaps{}, diag.Errorf(diag.EngineRootless, "", "looking up user %d: %w", uid, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return idMaps{}, diag.Errorf(diag.EngineRootless, "", "group of user %d: %w", uid, err)
	}
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return idMaps{}, diag.Errorf(diag.EngineRootless, "Install it (Debian: `apt install uidmap`), or use --engine.",
				"starting the rootless engine: %w", err)
		}
	}
	var maps idMaps
	if maps.uid, err = idMap("/etc/subuid", u.Username, uid, uid); err != nil {
		return idMaps{}, err
	}
	if maps.gid, err = idMap("/etc/subgid", u.Username, uid, gid); err != nil {
		return idMaps{}, err
	}
	return maps, nil
}

func idMap(file, name string, uid, own int) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, diag.Errorf(diag.EngineRootless, "", "reading subordinate ids: %w", err)
	}
	m, n := parseSubIDs(string(b), name, uid, own)
	if n >= neededIDs {
		return m, nil
	}
	return nil, diag.Errorf(diag.EngineRootless,
		fmt.Sprintf("Run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s (another range if others have that one), or use --engine.", name),
		"starting the rootless engine: %s gives user %q %d subordinate ids; %d are needed", file, name, n, neededIDs)
}

// parseSubIDs reads subuid(5): lines NAME:START:COUNT, where NAME may be a numeric id.
// The map gives id 0 to own and the ids from 1 to the first neededIDs of the user's
// ranges; n is how many there were, at most neededIDs. Malformed lines are passed over,
// as newuidmap does.
func parseSubIDs(text, name string, uid, own int) (idmap []string, n uint64) {
	idmap = []string{"0", strconv.Itoa(own), "1"}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || (f[0] != name && f[0] != strconv.Itoa(uid)) {
			continue
		}
		start, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		count = min(count, neededIDs-n)
		if err1 != nil || err2 != nil || count == 0 {
			continue
		}
		idmap = append(idmap, strconv.FormatUint(1+n, 10), strconv.FormatUint(start, 10), strconv.FormatUint(count, 10))
		n += count
	}
	return idmap, n
}

// write gives the ids to a process that waits in a fresh user namespace.
func (m idMaps) write(ctx context.Context, pid int) error {
	for _, run := range []struct {
		tool string
		ids  []string
	}{{"newuidmap", m.uid}, {"newgidmap", m.gid}} {
		cmd := exec.CommandContext(ctx, run.tool, append([]string{strconv.Itoa(pid)}, run.ids...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return diag.Errorf(diag.EngineRootless, "", "starting the rootless engine: %s: %w: %s", run.tool, err, bytes.TrimSpace(out))
		}
	}
	return nil
}
