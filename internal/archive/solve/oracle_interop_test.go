//go:build interop

package solve

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"forge/internal/debian/control"
	"forge/internal/diag"
)

var (
	rounds = flag.Int("rounds", 150, "random archives to compare with apt")
	update = flag.Bool("update", false, "write testdata from the current archive and apt's answers")
)

// requests are compared with apt on the real archive: one a line, packages with blanks between.
const requests = `
ansible
apache2
awk
base-files
base-files gawk
base-files gawk original-awk
build-essential
busybox
ca-certificates
cargo
curl
default-jre-headless
default-mta
default-mysql-client
docker.io
emacs-nox
exim4 postfix
gcc
git
git curl python3 perl
gnome
golang-go
haproxy
init
kde-standard
libapache2-mod-php
libreoffice
mail-transport-agent
mailutils
mailutils nullmailer
mariadb-server
memcached
mosquitto
nginx
nginx apache2
nodejs
openjdk-21-jre-headless
openssh-client
openssh-server
perl
php
php-cli
php8.4-cli php8.4-redis
php8.4-redis
podman
podman netavark
postgresql
postgresql-client
python3
python3 python3-venv
rabbitmq-server
redis-server
ruby
sqlite3
squid
systemd
texlive-full
tomcat11
varnish
vim
wordpress
`

func TestDebianAsApt(t *testing.T) {
	root, security := debianRoots(t)
	a := newApt(t, "deb "+root+" trixie main\ndeb "+root+" trixie-updates main\ndeb "+security+" trixie-security main\n")
	u := NewUniverse("amd64")
	files := a.indexes(t)
	for _, suite := range suites {
		if err := u.Add(Index{suite.archive, suite.name, "main", false}, bytes.NewReader(files[suite.name])); err != nil {
			t.Fatal(err)
		}
	}
	var answers []answer
	for line := range strings.Lines(strings.TrimSpace(requests)) {
		request := strings.Fields(line)
		want, aptErr := a.install(request)
		selected, err := Solve(u, Request{Install: request, Resolve: true})
		t.Logf("%s: %d packages, %v", strings.Join(request, " "), len(selected), err)
		if text := disagree(selected, err, want, aptErr); text != "" {
			t.Errorf("%v: %s", request, text)
		}
		answers = append(answers, answer{request, want, aptErr})
	}
	if *update && !t.Failed() {
		writeCorpus(t, u, files, answers)
	}
}

// Random archives meet what real ones seldom have. Where apt's classic resolver leaves
// dependencies unmet its problem resolver takes over, or in newer releases another
// solver; there a valid answer is enough.
func TestRandomArchivesAsApt(t *testing.T) {
	count := map[string]int{}
	var recorded strings.Builder
	for seed := range *rounds {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		text := randomArchive(rng)
		repo := t.TempDir()
		write(t, filepath.Join(repo, "Packages"), text)
		a := newApt(t, "deb [trusted=yes] copy:"+repo+" ./\n")
		u := universeOf(t, text)
		var parent []Selected
		for range 6 {
			r := Request{Install: randomRequest(rng), Resolve: true}
			for _, p := range parent {
				r.Installed = append(r.Installed, p.Package)
			}
			kind, want := compareRandom(t, a, u, r, text)
			count[kind]++
			if kind == "equal" || kind == "choose one" {
				fmt.Fprintf(&recorded, "%d;%s;%s", seed, strings.Join(names(parent), " "), answer{request: r.Install, want: want})
			}
			if parent == nil && kind == "equal" {
				parent, _ = Solve(u, r)
				a.installed(t, text, parent)
			}
		}
	}
	t.Log(count)
	if *update && !t.Failed() {
		write(t, filepath.Join("testdata", "random-answers"), recorded.String())
	}
	if count["equal"] < 2**rounds {
		t.Errorf("only %d comparable answers", count["equal"])
	}
}

// compareRandom fails the test when the answers differ although apt's first pass
// settles the request.
func compareRandom(t *testing.T, a apt, u *Universe, r Request, text string) (kind string, want []string) {
	t.Helper()
	want, aptErr := a.install(r.Install)
	selected, err := Solve(u, r)
	if err == nil {
		checkValid(t, r, selected)
	}
	s, setupErr := newSolver(u, r)
	if setupErr == nil {
		s.classic(s.requested)
	}
	settled := setupErr == nil && s.consistent()
	change := slices.ContainsFunc(want, func(w string) bool { return strings.HasSuffix(w, " removed") || strings.HasSuffix(w, " upgraded") })
	difference := disagree(selected, err, want, aptErr)
	switch {
	case difference == "" && err == nil:
		return "equal", want
	case difference == "" && diag.IDOf(err) == diag.ChooseOne:
		return "choose one", want
	case difference == "":
		return "both refuse", want
	case change || len(r.Installed) > 0 && err == nil && aptErr != nil:
		return "apt changes or breaks the parent", want
	case !settled && aptErr != nil:
		return "only the search succeeds", want
	case !settled && err == nil:
		return "the search differs", want
	}
	t.Errorf("%s\nrequest %v, installed %v\n%s", text, r.Install, names(asSelected(r.Installed)), difference)
	return "wrong", want
}

func asSelected(installed []Package) []Selected {
	var out []Selected
	for _, p := range installed {
		out = append(out, Selected{Package: p})
	}
	return out
}

// writeCorpus keeps, for some requests, the stanzas that solving looks at and apt's answers.
func writeCorpus(t *testing.T, u *Universe, files map[string][]byte, answers []answer) {
	t.Helper()
	looked := map[string]bool{}
	var text strings.Builder
	for _, a := range answers {
		if !slices.Contains(corpusRequests, strings.Join(a.request, " ")) {
			continue
		}
		text.WriteString(a.String())
		s, err := newSolver(u, Request{Install: a.request, Resolve: true})
		if err != nil {
			continue // a virtual package: its providers matter, and are in the answer
		}
		_ = s.choose() // whatever it answers, its nodes are what it looked at
		for name := range s.nodes {
			looked[name] = true
		}
	}
	write(t, filepath.Join("testdata", "answers"), text.String())
	for _, suite := range suites {
		write(t, filepath.Join("testdata", suite.name+".Packages"), excerpt(t, files[suite.name], looked))
	}
}

// excerpt keeps the fields that count of the packages named.
func excerpt(t *testing.T, index []byte, names map[string]bool) string {
	t.Helper()
	var out strings.Builder
	for r := control.NewReader(bytes.NewReader(index), kept...); ; {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if !names[s.Get("Package")] {
			continue
		}
		for _, f := range s.Fields {
			out.WriteString(f.Name + ": " + f.Value + "\n")
		}
		out.WriteString("\n")
	}
}
