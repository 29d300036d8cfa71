package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"forge/internal/diag"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// cause is an error with a text of our own: the original's may hold a registry's raw
// answer or an address with a token in it.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// fault turns what a transfer met into an error with an id. host names the registry.
func fault(err error, host, format string, args ...any) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf(format, args...)
	var known *diag.Error
	var answer *ggcr.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	case errors.As(err, &known):
		return &diag.Error{ID: known.ID, Next: known.Next, Err: &cause{doing + ": " + known.Error(), err}}
	case errors.As(err, &answer):
		id, next := classify(answer, host)
		return &diag.Error{ID: id, Next: next, Err: &cause{doing + ": " + host + " answered " + answerText(answer), err}}
	case strings.Contains(err.Error(), "no token in bearer response"):
		return &diag.Error{ID: diag.RegistryAuth, Err: &cause{doing + ": the token service of " + host + " sent no token", err}}
	case refused(err):
		return &diag.Error{ID: diag.RegistryRefused, Err: &cause{doing + ": " + scrub(err.Error()), err}}
	}
	return &diag.Error{ID: diag.RegistryFault, Err: &cause{doing + ": " + scrub(err.Error()), err}}
}

func classify(answer *ggcr.Error, host string) (diag.ID, string) {
	reading := answer.Request == nil || answer.Request.Method == http.MethodGet || answer.Request.Method == http.MethodHead
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return diag.RegistryAuth, "Log in with `docker login " + host + "` (or podman, crane) and run the command again."
	case http.StatusForbidden:
		return diag.RegistryAuth, "Ask the owner of " + host + " for access, or log in as somebody who has it."
	case http.StatusNotFound:
		if reading {
			return diag.ImageNotFound, ""
		}
		return diag.RegistryFault, "Check the repository's name; some registries want it created first."
	}
	return diag.RegistryFault, ""
}

func answerText(answer *ggcr.Error) string {
	text := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	for i, d := range answer.Errors {
		if i == 3 {
			break
		}
		text += fmt.Sprintf(" (%s %s)", d.Code, d.Message)
	}
	return scrub(text)
}

// refusals are texts of go-containerregistry's errors, which have no type, for answers
// that contradict themselves. A test for each case fails when one changes.
var refusals = []string{
	"does not match requested digest",
	"does not match expected size",
	"error verifying",
	"SSRF protection",
	"private or link-local",
	"not allowed; must be https",
	"not allowed for a secure registry",
	"unsupported MediaType",
	"byte limit",
}

func refused(err error) bool {
	if errors.Is(err, errTooLarge) || errors.Is(err, errContent) {
		return true
	}
	for _, r := range refusals {
		if strings.Contains(err.Error(), r) {
			return true
		}
	}
	return false
}

var addresses = regexp.MustCompile(`[a-z]+://[^\s"'<>]+`)

// scrub makes a foreign text fit for a terminal: addresses without user and query,
// which can hold secrets, no control characters, and not long.
func scrub(text string) string {
	text = addresses.ReplaceAllStringFunc(text, func(s string) string {
		u, err := url.Parse(s)
		if err != nil {
			return "(address)"
		}
		return u.Scheme + "://" + u.Host + u.Path
	})
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if runes := []rune(text); len(runes) > 400 {
		return string(runes[:400]) + "..."
	}
	return text
}
