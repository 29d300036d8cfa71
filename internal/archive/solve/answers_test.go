package solve

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"forge/internal/diag"
)

// suites are the indexes of testdata, in the order they are added.
var suites = []struct{ archive, name string }{
	{"debian", "trixie"}, {"debian", "trixie-updates"}, {"debian-security", "trixie-security"},
}

// corpusRequests are those of the interop test whose answers by apt are in testdata,
// with the part of the archive that they need.
var corpusRequests = []string{
	"base-files", "base-files gawk", "ca-certificates", "curl", "default-jre-headless", "exim4 postfix", "mail-transport-agent",
	"mailutils", "mailutils nullmailer", "nginx", "nodejs", "openssh-client", "perl", "php-cli", "php8.4-cli php8.4-redis",
	"php8.4-redis", "postgresql-client", "python3", "redis-server", "ruby",
}

// answer is what apt said to a request: "name=version", sorted, or a fault.
type answer struct {
	request []string
	want    []string
	err     error
}

const virtualFault = "is a virtual package provided by"

func (a answer) String() string {
	text := strings.Join(a.want, " ")
	switch {
	case a.err != nil && strings.Contains(a.err.Error(), virtualFault):
		text = "! " + virtualFault
	case a.err != nil:
		text = "! refused"
	}
	return strings.Join(a.request, " ") + ": " + text + "\n"
}

func readAnswers(t *testing.T) []answer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "answers"))
	if err != nil {
		t.Fatal(err)
	}
	var out []answer
	for line := range strings.Lines(strings.TrimSpace(string(data))) {
		request, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		a := answer{request: strings.Fields(request)}
		if fault, failed := strings.CutPrefix(text, "! "); failed {
			a.err = errors.New(fault)
		} else {
			a.want = strings.Fields(text)
		}
		out = append(out, a)
	}
	return out
}

func TestDebianAsAptAnswered(t *testing.T) {
	u := NewUniverse("amd64")
	for _, suite := range suites {
		data, err := os.ReadFile(filepath.Join("testdata", suite.name+".Packages"))
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Add(Index{suite.archive, suite.name, "main", false}, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	answers := readAnswers(t)
	if len(answers) != len(corpusRequests) {
		t.Errorf("testdata has %d answers, want %d", len(answers), len(corpusRequests))
	}
	for _, a := range answers {
		selected, err := Solve(u, Request{Install: a.request, Resolve: true})
		if text := disagree(selected, err, a.want, a.err); text != "" {
			t.Errorf("%v: %s", a.request, text)
		}
		backward := slices.Clone(a.request)
		slices.Reverse(backward)
		again, errAgain := Solve(u, Request{Install: backward, Resolve: true})
		if !slices.Equal(names(selected), names(again)) || errorText(err) != errorText(errAgain) {
			t.Errorf("%v: another order gives %v, %v", a.request, names(again), errAgain)
		}
	}
}

// testdata/random-answers has apt's answers to requests of archives made from a seed,
// with nothing or with a parent's packages installed.
func TestRandomArchivesAsAptAnswered(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "random-answers"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSpace(line), ";", 3)
		seed, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		u := universeOf(t, randomArchive(rand.New(rand.NewPCG(seed, 7))))
		request, want, _ := strings.Cut(f[2], ":")
		r := Request{Install: strings.Fields(request), Resolve: true}
		for _, installed := range strings.Fields(f[1]) {
			name, _, _ := strings.Cut(installed, "=")
			p, err := u.names[name][0].parse()
			if err != nil {
				t.Fatal(err)
			}
			r.Installed = append(r.Installed, *p)
		}
		selected, err := Solve(u, r)
		if text := disagree(selected, err, strings.Fields(want), nil); text != "" {
			t.Errorf("seed %d, installed %s, request %s: %s", seed, f[1], request, text)
		}
	}
}

func names(selected []Selected) []string {
	var out []string
	for _, s := range selected {
		out = append(out, s.Name+"="+s.Version)
	}
	slices.Sort(out)
	return out
}

// disagree compares an answer with apt's; "" when they agree. Where apt's answer is
// arbitrary, one of ours to choose from must be in it.
func disagree(selected []Selected, err error, want []string, aptErr error) string {
	switch {
	case diag.IDOf(err) == diag.ChooseOne && aptErr != nil:
		if !strings.Contains(aptErr.Error(), virtualFault) {
			return err.Error() + ", but apt fails: " + aptErr.Error()
		}
	case diag.IDOf(err) == diag.ChooseOne:
		options := choices(err)
		if !slices.ContainsFunc(want, func(w string) bool { name, _, _ := strings.Cut(w, "="); return slices.Contains(options, name) }) {
			return err.Error() + ", but apt takes none of them: " + strings.Join(want, " ")
		}
	case (err == nil) != (aptErr == nil):
		return "got error " + errorText(err) + ", apt has " + errorText(aptErr) + " " + strings.Join(want, " ")
	case !slices.Equal(names(selected), want):
		return "got\n " + strings.Join(names(selected), " ") + "\napt takes\n " + strings.Join(want, " ")
	}
	return ""
}

func errorText(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}

// choices reads the names out of "choose one: a, b (...)".
func choices(err error) []string {
	list, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "choose one: "), " (")
	return strings.Split(list, ", ")
}
