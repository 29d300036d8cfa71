package archivetest

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server serves archives on loopback: each under its name, as mirrors do.
type Server struct {
	URL string // without a slash at the end

	http *http.Server
	mu   sync.Mutex
	all  map[string]Files
	log  []*Request
	hook Hook
}

// Request is one request that the server got.
type Request struct {
	Path   string // from the server's root, with the archive's name
	Header http.Header
	Status int // 0 where the hook cut the connection
}

// Hook may answer a request in a way of its own; it returns false to let the server
// answer honestly.
type Hook func(w http.ResponseWriter, r *http.Request) (answered bool)

// Serve starts a server without archives.
func Serve() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening on loopback: %w", err)
	}
	s := &Server{URL: "http://" + l.Addr().String(), all: map[string]Files{}}
	s.http = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	go s.http.Serve(l) // ends with Close
	return s, nil
}

// Close stops the server and cuts its connections.
func (s *Server) Close() error { return s.http.Close() }

// Put publishes an archive under a name, in place of the one before.
func (s *Server) Put(name string, f Files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[name] = f
}

// Files gives the archive published under a name.
func (s *Server) Files(name string) Files {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[name]
}

// Root is the address of an archive.
func (s *Server) Root(name string) string { return s.URL + "/" + name }

// SetHook installs a fault; nil makes the server honest again.
func (s *Server) SetHook(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// Requests gives what was asked since the last call.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Request
	for _, r := range s.log {
		all = append(all, *r)
	}
	s.log = nil
	return all
}

// ServeHTTP answers honestly, unless the hook does otherwise.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry := &Request{Path: r.URL.Path, Header: r.Header.Clone()}
	rec := &statusRecorder{ResponseWriter: w, server: s, entry: entry}
	s.mu.Lock()
	s.log = append(s.log, entry)
	hook := s.hook
	archive, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	data, ok := s.all[archive][name]
	s.mu.Unlock()
	if hook != nil && hook(rec, r) {
		return
	}
	if !ok {
		http.NotFound(rec, r)
		return
	}
	Respond(rec, r, data)
}

// Respond answers a request with data as a good mirror does: conditional requests and
// ranges work.
func Respond(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("ETag", `"`+SHA256(data)[:16]+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Unix(packageTime.Unix(), 0), bytes.NewReader(data))
}

type statusRecorder struct {
	http.ResponseWriter
	server *Server
	entry  *Request
}

func (r *statusRecorder) WriteHeader(code int) {
	r.server.mu.Lock()
	r.entry.Status = code
	r.server.mu.Unlock()
	r.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
