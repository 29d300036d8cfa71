package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"forge/internal/archive/fetch"
	"forge/internal/diag"
)

// maxDownload bounds a template's file from a URL, in bytes; it is held in memory once.
const maxDownload = 256 << 20

// Download gives the path of a file that a template names by URL and SHA-256, from the
// cache or from the URL. Another content is diag.HashMismatch.
func (c *Client) Download(ctx context.Context, url, sum string) (string, error) {
	if c.cache.Has(sum) {
		return c.cache.Path(sum), nil
	}
	body, _, _, err := c.http.Conditional(ctx, url, fetch.Validator{}, maxDownload)
	if err != nil {
		return "", fmt.Errorf("file %s: %w", fetch.Redact(url), err)
	}
	got := sha256.Sum256(body)
	if hex.EncodeToString(got[:]) != sum {
		return "", diag.Errorf(diag.HashMismatch, "If the file was meant to change, put its new sha256 into the template.",
			"file %s: its SHA-256 is %x, the template says %s", fetch.Redact(url), got, sum)
	}
	if _, err := c.cache.Put(body); err != nil {
		return "", err
	}
	return c.cache.Path(sum), nil
}
