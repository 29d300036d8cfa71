package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxPages bounds the pages of one list of referrers.
const maxPages = 64

// joinPages gives the whole of a list of referrers that comes in pages (distribution
// spec, "Listing Referrers"); go-containerregistry reads the first page only. All
// pages together keep to the bound of one manifest.
func (t *wire) joinPages(req *http.Request, first *http.Response) (*http.Response, error) {
	next, err := nextPage(req, first)
	if err != nil {
		return nil, err
	}
	if next == nil {
		return first, nil
	}
	all := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	left := int64(maxManifest)
	for resp, n := first, 1; ; n++ {
		if err := readPage(resp, &all, &left); err != nil {
			return nil, err
		}
		if next == nil {
			break
		}
		if n == maxPages {
			return nil, fmt.Errorf("%w: the list of referrers has more than %d pages", errContent, maxPages)
		}
		again := req.Clone(req.Context())
		again.URL = next
		if resp, err = t.send(again); err != nil {
			return nil, err
		}
		if next, err = nextPage(again, resp); err != nil {
			return nil, err
		}
	}
	body, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	first.Body, first.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	first.Header.Del("Content-Length")
	return first, nil
}

// readPage adds one page's descriptors to all.
func readPage(resp *http.Response, all *v1.IndexManifest, left *int64) error {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a further page of referrers: the answer is %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, *left+1))
	if err != nil {
		return err
	}
	if *left -= int64(len(body)); *left < 0 {
		return errTooLarge
	}
	var page v1.IndexManifest
	if err := json.Unmarshal(body, &page); err != nil {
		return fmt.Errorf("%w: a page of referrers is no index: %v", errContent, err)
	}
	all.Manifests = append(all.Manifests, page.Manifests...)
	return nil
}

// nextPage is the address of what follows an answer that is a page of referrers; nil
// when nothing does. An address anywhere else is refused: it would get the token.
func nextPage(req *http.Request, resp *http.Response) (*url.URL, error) {
	if req.Method != http.MethodGet || resp.StatusCode != http.StatusOK || path.Base(path.Dir(req.URL.Path)) != "referrers" {
		return nil, nil
	}
	for _, link := range resp.Header.Values("Link") {
		target, params, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if !ok || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		next, err := req.URL.Parse(target)
		if err != nil || next.Scheme != req.URL.Scheme || next.Host != req.URL.Host || next.Path != req.URL.Path {
			resp.Body.Close()
			return nil, fmt.Errorf("%w: the list of referrers goes on at another place", errContent)
		}
		return next, nil
	}
	return nil, nil
}
