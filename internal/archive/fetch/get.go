package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"forge/internal/diag"
)

// ErrNotFound is wrapped by errors of URLs whose server says that there is nothing.
var ErrNotFound = errors.New("not found")

// Want is content known beforehand.
type Want struct {
	SHA256 string // hex
	Size   int64
}

// Validator lets a server answer "not modified".
type Validator struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// Get downloads a URL whose content is known into w, which it may empty to begin
// anew, and leaves it complete and verified, or fails. A broken download is resumed,
// where the server can.
func (c *Client) Get(ctx context.Context, rawURL string, want Want, w *os.File) error {
	release, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	d := &download{client: c, url: rawURL, want: want, file: w, hash: sha256.New()}
	return c.retry(ctx, rawURL, d.attempt)
}

// Conditional downloads a URL of at most limit bytes unless v still describes it:
// then fresh is false and body nil.
func (c *Client) Conditional(ctx context.Context, rawURL string, v Validator, limit int64) (body []byte, now Validator, fresh bool, err error) {
	release, err := c.slot(ctx)
	if err != nil {
		return nil, v, false, err
	}
	defer release()
	err = c.retry(ctx, rawURL, func(ctx context.Context) error {
		body, now, fresh, err = c.conditional(ctx, rawURL, v, limit)
		return err
	})
	return body, now, fresh, err
}

func (c *Client) conditional(ctx context.Context, rawURL string, v Validator, limit int64) ([]byte, Validator, bool, error) {
	header := http.Header{}
	if v.ETag != "" {
		header.Set("If-None-Match", v.ETag)
	}
	if v.LastModified != "" {
		header.Set("If-Modified-Since", v.LastModified)
	}
	resp, err := c.open(ctx, rawURL, header)
	if err != nil {
		return nil, v, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		if v == (Validator{}) {
			return nil, v, false, fatal{diag.Errorf(diag.Transport, "", "the server says \"not modified\" to a request that asked for no such thing")}
		}
		return nil, v, false, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, v, false, statusError(resp, c.clock)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, v, false, err
	}
	if int64(len(body)) > limit {
		return nil, v, false, fatal{diag.Errorf(diag.TooLarge, "", "the file is larger than %d bytes", limit)}
	}
	return body, Validator{resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")}, true, nil
}

// download is one file on its way, over several attempts.
type download struct {
	client *Client
	url    string
	want   Want
	file   *os.File
	hash   hash.Hash
	have   int64
	strong string // what If-Range may say; empty when the server gave nothing to resume by
}

func (d *download) attempt(ctx context.Context) error {
	header := http.Header{}
	if d.have > 0 && d.strong == "" { // nothing to tell the server by that we mean the same file
		if err := d.reset(); err != nil {
			return err
		}
	}
	resumed := d.have > 0
	if resumed {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
		header.Set("If-Range", d.strong)
	}
	resp, err := d.client.open(ctx, d.url, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := d.accept(resp); err != nil {
		return err
	}
	resumed = resumed && d.have > 0
	n, err := io.Copy(io.MultiWriter(diskWriter{d.file}, d.hash), io.LimitReader(resp.Body, d.want.Size+1-d.have))
	d.have += n
	switch {
	case d.have > d.want.Size && resumed:
		return errors.Join(errors.New("the server resumed with another file"), d.reset())
	case d.have > d.want.Size:
		return fatal{diag.Errorf(diag.HashMismatch, "", "the file is larger than the %d bytes it should have", d.want.Size)}
	case err != nil:
		return err
	case d.have < d.want.Size:
		return d.short(resp)
	}
	if got := hex.EncodeToString(d.hash.Sum(nil)); got != d.want.SHA256 {
		if resumed {
			return errors.Join(errors.New("the server resumed with another file"), d.reset())
		}
		return fatal{diag.Errorf(diag.HashMismatch, "", "the file's SHA-256 is %s, it should be %s", got, d.want.SHA256)}
	}
	return nil
}

// diskWriter marks what the disk refuses: no other server mends that.
type diskWriter struct{ f *os.File }

func (w diskWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		err = fatal{diag.Errorf(diag.Disk, "", "writing a download: %w", err)}
	}
	return n, err
}

// accept decides whether a response continues the file, starts it anew, or is a fault.
func (d *download) accept(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusPartialContent && d.have > 0:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.have)) {
			return errors.Join(errors.New("the server resumed at another place than asked for"), d.reset())
		}
		return nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && d.have > 0:
		return errors.Join(errors.New("the server cannot resume"), d.reset())
	case resp.StatusCode != http.StatusOK:
		return statusError(resp, d.client.clock)
	}
	d.strong = resp.Header.Get("ETag")
	if d.strong == "" || strings.HasPrefix(d.strong, "W/") {
		d.strong = resp.Header.Get("Last-Modified")
	}
	return d.reset()
}

// short is a body that ended too early: worth another attempt only when the server
// had announced more than it sent.
func (d *download) short(resp *http.Response) error {
	err := diag.Errorf(diag.HashMismatch, "", "the file has %d bytes, it should have %d", d.have, d.want.Size)
	if resp.ContentLength >= 0 {
		return fatal{err}
	}
	return errors.Join(err, d.reset())
}

func (d *download) reset() error {
	d.have = 0
	d.hash.Reset()
	if err := d.file.Truncate(0); err != nil {
		return fatal{diag.Errorf(diag.Disk, "", "emptying a download: %w", err)}
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return fatal{diag.Errorf(diag.Disk, "", "emptying a download: %w", err)}
	}
	return nil
}

// open sends a GET, or opens the file of a file URL. The response's body fails when
// the server stalls.
func (c *Client) open(ctx context.Context, rawURL string, header http.Header) (*http.Response, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fatal{errors.New("the URL is malformed")}
	}
	if u.Scheme == "file" {
		return openFile(u)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		ctx = context.WithValue(ctx, loginKey{}, urlLogin{u.Scheme, u.Host, login{user: u.User.Username(), password: password}})
		u.User = nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, fatal{errors.New("the URL is malformed")}
	}
	req.Header = header
	req.Header.Set("User-Agent", "forge")
	req.Header.Set("Accept-Encoding", "identity")
	watch := startWatchdog(c.stall, cancel)
	resp, err := c.http.Do(req)
	if err != nil {
		watch.stop()
		defer cancel(nil)
		return nil, cause(ctx, err)
	}
	stop := sync.OnceFunc(func() { watch.stop(); cancel(nil) })
	resp.Body = &watchedBody{resp.Body, watch, ctx, stop}
	return resp, nil
}

// cause is the innermost telling error: the watchdog's, or what *url.Error hides
// together with the URL.
func cause(ctx context.Context, err error) error {
	if stalled := context.Cause(ctx); stalled != nil {
		return stalled
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func openFile(u *url.URL) (*http.Response, error) {
	info, err := os.Stat(u.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fatal{ErrNotFound}
	}
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for ever
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, fatal{err}
	}
	f, err := os.Open(u.Path)
	if err != nil {
		return nil, fatal{err}
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: f, ContentLength: info.Size()}, nil
}

// watchdog cancels a request during which fewer than the least number of bytes came
// in one whole stall window.
type watchdog struct {
	window time.Duration
	cancel context.CancelCauseFunc
	bytes  atomic.Int64

	mu    sync.Mutex
	timer *time.Timer // nil once stopped
}

func startWatchdog(window time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{window: window, cancel: cancel}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(window, w.check)
	return w
}

func (w *watchdog) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	least := max(1, int64(w.window.Seconds()*minBytesPerSec))
	if w.bytes.Swap(0) < least {
		w.cancel(fmt.Errorf("the server stalled: fewer than %d bytes in %v", least, w.window))
		return
	}
	w.timer.Reset(w.window)
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
}

type watchedBody struct {
	io.ReadCloser
	watch *watchdog
	ctx   context.Context
	stop  func()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.bytes.Add(int64(n))
	if err != nil && err != io.EOF {
		err = cause(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}

// fatal is an error that another attempt at the same URL cannot mend.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// later is a server's wish to be asked again after a while.
type later struct {
	error
	after time.Duration
}

func statusError(resp *http.Response, clock Clock) error {
	err := fmt.Errorf("the server answered %d", resp.StatusCode)
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone:
		return fatal{fmt.Errorf("%w: %w", err, ErrNotFound)}
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return later{err, retryAfter(resp.Header.Get("Retry-After"), clock.Now())}
	case code >= 500 || code == http.StatusRequestTimeout:
		return err
	}
	return fatal{err}
}

func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// retry makes attempts until one succeeds, cannot be mended, or was the last.
func (c *Client) retry(ctx context.Context, rawURL string, attempt func(context.Context) error) error {
	wait := time.Second
	for i := 1; ; i++ {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		var end fatal
		if ctx.Err() != nil {
			return fmt.Errorf("downloading %s: %w", Redact(rawURL), ctx.Err())
		}
		if errors.As(err, &end) || i == c.attempts {
			return describe(rawURL, err)
		}
		pause := wait
		var l later
		if errors.As(err, &l) {
			pause = max(pause, l.after)
		}
		if err := c.clock.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("downloading %s: %w", Redact(rawURL), err)
		}
		wait = min(2*wait, maxBackoff)
	}
}

func describe(rawURL string, err error) error {
	id := diag.IDOf(err)
	if id == "" {
		id = diag.Transport
	}
	return diag.Errorf(id, "", "downloading %s: %w", Redact(rawURL), err)
}

func (c *Client) slot(ctx context.Context) (release func(), err error) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
