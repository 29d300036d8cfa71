package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// Fault is something going wrong with some requests.
type Fault struct {
	Method string // "" is any
	Path   string // part of the path; "" is any
	After  int    // how many matching requests go well first
	Times  int    // how many then go wrong; 0: all

	// Serve answers instead of next; quit is closed when the registry closes.
	Serve func(w http.ResponseWriter, req *http.Request, next http.Handler, quit <-chan struct{})

	seen int
}

// Add makes the registry have a fault. Of several that match, the first acts.
func (r *Registry) Add(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, &f)
}

// Mend removes all faults.
func (r *Registry) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

func (r *Registry) match(req *http.Request) *Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if f.Method != "" && f.Method != req.Method || !strings.Contains(req.URL.Path, f.Path) {
			continue
		}
		f.seen++
		if f.seen > f.After && (f.Times == 0 || f.seen <= f.After+f.Times) {
			return f
		}
	}
	return nil
}

// Serving is the type of Fault.Serve.
type Serving = func(http.ResponseWriter, *http.Request, http.Handler, <-chan struct{})

// Status answers with a status, headers given as key, value, and a registry's error body.
func Status(code int, header ...string) Serving {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"errors":[{"code":"TEST","message":"status %d on demand"}]}`, code)
	}
}

// Cut drops the connection: before any answer when n is negative, else after n bytes of it.
func Cut(n int) Serving {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler, _ <-chan struct{}) {
		if n >= 0 {
			body := replay(w, req, next)
			w.Write(body[:min(n, len(body))])
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// Stall answers nothing until the client leaves; with a positive n, it answers n bytes first.
func Stall(n int) Serving {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler, quit <-chan struct{}) {
		if n > 0 {
			body := replay(w, req, next)
			w.Write(body[:min(n, len(body))])
			w.(http.Flusher).Flush()
		}
		io.Copy(io.Discard, req.Body)
		select {
		case <-req.Context().Done():
		case <-quit:
		}
		panic(http.ErrAbortHandler)
	}
}

// Alter answers as the registry would, but for what change does to header and body.
func Alter(change func(h http.Header, body []byte) []byte) Serving {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler, _ <-chan struct{}) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, req)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		body := change(w.Header(), rec.Body.Bytes())
		if req.Method != http.MethodHead {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		w.WriteHeader(rec.Code)
		w.Write(body)
	}
}

// Endless answers with a status and a body that does not end.
func Endless(code int, header ...string) Serving {
	return func(w http.ResponseWriter, req *http.Request, _ http.Handler, _ <-chan struct{}) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		block := bytes.Repeat([]byte(" "), 1<<16)
		for req.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

// replay gets the true answer, sends its header, and returns its body.
func replay(w http.ResponseWriter, req *http.Request, next http.Handler) []byte {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, req)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
	w.WriteHeader(rec.Code)
	return rec.Body.Bytes()
}
