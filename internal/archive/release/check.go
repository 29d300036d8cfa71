package release

import (
	"fmt"
	"time"

	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// DefaultMaxAge bounds a suite that states no Valid-Until and an archive that sets no
// max_age. Debian's stable release itself is such a suite: its point releases come
// every two to three months, so that twice the usual interval has passed when this
// trips, and a mirror frozen on purpose is found within half a year at most.
const DefaultMaxAge = 180 * 24 * time.Hour

// maxAsOf is how far back as_of may reach.
const maxAsOf = 30 * 24 * time.Hour

// SnapshotFormat is how a moment of the snapshot service is written.
const SnapshotFormat = "20060102T150405Z"

// CheckTime refuses a release from the future, one whose time is over, and one that
// nothing bounds and that is older than the archive's max_age.
//
// as_of, or the moment of a snapshot, moves the day on which Valid-Until and max_age
// are judged, and nothing else. Where both bounds exist the earlier one counts.
func (r *Release) CheckTime(a spec.Archive, now time.Time) error {
	if r.Date.After(now.Add(ClockTolerance)) {
		return diag.Errorf(diag.ReleaseExpired, "Check this machine's clock.", "the release file's Date %s lies in the future", stamp(r.Date))
	}
	at, err := judgedAt(a, now)
	if err != nil {
		return err
	}
	maxAge, err := maxAge(a)
	if err != nil {
		return err
	}
	if !r.ValidUntil.IsZero() && at.After(r.ValidUntil) {
		return diag.Errorf(diag.ReleaseExpired, "", "the release file was valid until %s only; the mirror lags behind or hides updates", stamp(r.ValidUntil))
	}
	if maxAge == 0 && r.ValidUntil.IsZero() {
		maxAge = DefaultMaxAge
	}
	if maxAge > 0 && at.After(r.Date.Add(maxAge)) {
		return diag.Errorf(diag.ReleaseExpired, "Use another mirror, or set `max_age` in the archive block if the archive really changes so seldom.",
			"the release file of %s is older than the %s it may have", stamp(r.Date), days(maxAge))
	}
	return nil
}

func judgedAt(a spec.Archive, now time.Time) (time.Time, error) {
	if a.Snapshot != "" {
		at, err := time.Parse(SnapshotFormat, a.Snapshot)
		if err != nil || at.After(now) {
			return now, diag.Errorf(diag.InvalidTemplate, "Write `snapshot` as 20260131T120000Z.", "snapshot %q is no past moment", a.Snapshot)
		}
		return at, nil
	}
	if a.AsOf == "" {
		return now, nil
	}
	at, err := time.Parse(time.DateOnly, a.AsOf)
	if err != nil || at.After(now) {
		return now, diag.Errorf(diag.InvalidTemplate, "Write `as_of` as 2026-01-31.", "as_of %q is no past day", a.AsOf)
	}
	if now.Sub(at) > maxAsOf+24*time.Hour {
		return now, diag.Errorf(diag.ReleaseExpired, "Set `as_of` to a day at most 30 days back, or use `snapshot`.", "as_of %s is more than 30 days back", a.AsOf)
	}
	return at, nil
}

func maxAge(a spec.Archive) (time.Duration, error) {
	if a.MaxAge == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(a.MaxAge)
	if err != nil || d <= 0 {
		return 0, diag.Errorf(diag.InvalidTemplate, "", "max_age %q is no duration above zero", a.MaxAge)
	}
	return d, nil
}

// CheckIdentity holds the release to the suite asked for, and, where the lock has the
// suite, to the identity and the Date that the lock was made from. accept lets the
// identity change, never the Date go back.
func (r *Release) CheckIdentity(a spec.Archive, suite string, locked *lock.Release, accept bool) error {
	if suite != r.Suite && suite != r.Codename {
		return diag.Errorf(diag.ReleaseChanged, "Check the suite's name in the template and the mirror's address.",
			"the release file is of suite %q, codename %q, not of %q", r.Suite, r.Codename, suite)
	}
	if locked == nil || locked.Snapshot != a.Snapshot {
		return nil // nothing locked, or a moment chosen anew in the template, explicitly
	}
	date, err := time.Parse(time.RFC3339, locked.Date)
	if err != nil {
		return diag.Errorf(diag.LockMalformed, "", "reading the locked date of suite %q: %w", suite, err)
	}
	if r.Date.Before(date) {
		return diag.Errorf(diag.ReleaseRollback, "", "the release file of %s is older than the locked one of %s", stamp(r.Date), stamp(date))
	}
	if accept {
		return nil
	}
	for _, f := range []struct{ name, was, is string }{
		{"Origin", locked.Origin, r.Origin},
		{"Label", locked.Label, r.Label},
		{"Codename", locked.Codename, r.Codename},
	} {
		if f.was != f.is {
			return diag.Errorf(diag.ReleaseChanged, "", "the release file's %s is %q, the locked one's was %q", f.name, f.is, f.was)
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
