// Command othermirror is another mirror: it serves what its upstreams have, with other
// modification times, and lets small files overtake each other.
//
//	othermirror ADDRESS-FILE NAME=URL...
//
// It listens on a free loopback port, writes "NAME=http://127.0.0.1:PORT/NAME ..." to
// ADDRESS-FILE, and serves until it is killed. Each request is logged on stdout.
package main

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "othermirror:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: othermirror ADDRESS-FILE NAME=URL...")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	var places []string
	for _, arg := range args[1:] {
		name, root, _ := strings.Cut(arg, "=")
		upstream, err := url.Parse(root)
		if err != nil {
			return err
		}
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, mirror(upstream)))
		places = append(places, fmt.Sprintf("%s=http://%s/%s", name, listener.Addr(), name))
	}
	if err := os.WriteFile(args[0]+".new", []byte(strings.Join(places, " ")+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.Rename(args[0]+".new", args[0]); err != nil {
		return err
	}
	return http.Serve(listener, mux)
}

// mirror passes requests on. A file's time comes from its name's hash, and so does the
// delay of its answer, up to a fifth of a second: files arrive in another order.
func mirror(upstream *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ModifyResponse: func(r *http.Response) error {
			h := fnv.New32a()
			fmt.Fprint(h, r.Request.URL.Path)
			time.Sleep(time.Duration(h.Sum32()%200) * time.Millisecond)
			r.Header.Set("Last-Modified", time.Unix(int64(h.Sum32()), 0).UTC().Format(http.TimeFormat))
			r.Header.Del("ETag")
			fmt.Println(r.StatusCode, r.Request.URL.Path)
			return nil
		},
	}
}
