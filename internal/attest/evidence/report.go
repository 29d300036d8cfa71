package evidence

import (
	"fmt"
	"io"
	"strings"

	"forge/internal/diag"
)

// Report is what Verify found, as plain data for --format json.
type Report struct {
	Version  int       `json:"version"` // 1
	Image    string    `json:"image"`   // repository@digest
	Keys     []string  `json:"keys"`    // fingerprints that were accepted
	Verified bool      `json:"verified"`
	Checked  []Checked `json:"checked"` // the index first, then its images in its order
}

// Checked is the verdict on one manifest or index.
type Checked struct {
	Digest   string   `json:"digest"`
	Platform string   `json:"platform,omitempty"` // "" for an index
	Evidence []Piece  `json:"evidence"`
	Packages int      `json:"packages,omitempty"` // in the image, all named by the SBOM
	Faults   []Fault  `json:"faults,omitempty"`
	Ignored  []string `json:"ignored,omitempty"` // pieces that do not count, and why
}

// Piece is one kind of evidence that was accepted.
type Piece struct {
	Type  string   `json:"type"`  // predicate type
	Forms []Format `json:"forms"` // where it was found
	Key   string   `json:"key"`   // fingerprint of the key that signed it
}

// Fault is one reason why verification failed.
type Fault struct {
	ID     diag.ID `json:"id"`
	Detail string  `json:"detail"`
}

// WriteText writes the report for one screen.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	verdict := "verified"
	if !r.Verified {
		verdict = "NOT verified"
	}
	fmt.Fprintf(&b, "%s: %s\n", r.Image, verdict)
	for _, c := range r.Checked {
		c.writeText(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Checked) writeText(b *strings.Builder) {
	what := c.Platform
	if what == "" {
		what = "index"
	}
	fmt.Fprintf(b, "  %-12s %s\n", what, c.Digest)
	for _, p := range c.Evidence {
		forms := make([]string, len(p.Forms))
		for i, f := range p.Forms {
			forms[i] = string(f)
		}
		fmt.Fprintf(b, "    ok    %-11s %s, key %s\n", shortType(p.Type), strings.Join(forms, " and "), p.Key)
	}
	if c.Packages > 0 {
		fmt.Fprintf(b, "    ok    %-11s the SBOM names exactly the image's %d packages\n", "packages", c.Packages)
	}
	for _, f := range c.Faults {
		fmt.Fprintf(b, "    %s %s\n", f.ID, f.Detail)
	}
	for _, s := range c.Ignored {
		fmt.Fprintf(b, "    note  not counted: %s\n", s)
	}
}
