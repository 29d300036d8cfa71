package fetch

import (
	"net/http"
	"strings"
)

type login struct{ host, user, password string }

// netrc is a list of logins; the entry with host "" is the default one.
type netrc []login

// parseNetrc reads curl's netrc format: machine, default, login, password, account;
// macdef runs to the next empty line. Unknown words are passed over.
func parseNetrc(text string) netrc {
	var all netrc
	inMacro := false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if inMacro {
			inMacro = len(words) > 0
			continue
		}
		for i := 0; i < len(words) && !strings.HasPrefix(words[i], "#"); i++ {
			value := ""
			if i+1 < len(words) {
				value = words[i+1]
			}
			switch words[i] {
			case "default":
				all = append(all, login{})
				continue
			case "machine":
				all = append(all, login{host: value})
			case "macdef":
				inMacro = true
			case "login":
				if len(all) > 0 {
					all[len(all)-1].user = value
				}
			case "password":
				if len(all) > 0 {
					all[len(all)-1].password = value
				}
			case "account":
			default:
				continue
			}
			i++
		}
	}
	return all
}

func (n netrc) find(host string) (login, bool) {
	for _, l := range n {
		if l.host == host || l.host == "" {
			return l, true
		}
	}
	return login{}, false
}

// authorizer adds the credentials of the very host that a request goes to, so that a
// redirect never carries them elsewhere.
type authorizer struct {
	next   http.RoundTripper
	logins netrc
}

func (a *authorizer) RoundTrip(req *http.Request) (*http.Response, error) {
	l, ok := ownLogin(req)
	if !ok {
		l, ok = a.logins.find(req.URL.Hostname())
	}
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if ok {
		req.SetBasicAuth(l.user, l.password)
	}
	return a.next.RoundTrip(req)
}

type loginKey struct{}

// urlLogin is the user and password written into a URL, bound to its scheme and host.
type urlLogin struct {
	scheme, host string
	login        login
}

func ownLogin(req *http.Request) (login, bool) {
	own, ok := req.Context().Value(loginKey{}).(urlLogin)
	if !ok || own.scheme != req.URL.Scheme || own.host != req.URL.Host {
		return login{}, false
	}
	return own.login, true
}
