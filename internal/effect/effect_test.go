package effect

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/debian/deb"
	"forge/internal/diag"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

func TestEveryRecordIsWellFormed(t *testing.T) {
	names, err := Packages()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 100 {
		t.Errorf("%d packages have records; where are the others?", len(names))
	}
	for _, name := range names {
		records, err := Records(name)
		if err != nil {
			t.Error(err)
		}
		seen := map[string]bool{}
		for _, r := range records {
			key := r.Script.Script + " " + r.SHA256
			if r.Package != name || seen[key] || len(r.SHA256) != 64 || r.Why == "" || len(r.Versions) == 0 {
				t.Errorf("%s: record %s is of another package, repeated or incomplete", name, key)
			}
			seen[key] = true
			if !slices.Contains([]string{"config", "preinst", "postinst", "triggers"}, r.Script.Script) {
				t.Errorf("%s: %q does not run at a first installation", name, r.Script.Script)
			}
			if len(r.Effects) == 0 {
				t.Errorf("%s: record %s says nothing; it must say none", name, key)
			}
			for _, e := range r.Effects {
				if err := rootfs.CheckEffect(e); err != nil {
					t.Errorf("%s: record %s: %v", name, key, err)
				}
			}
		}
	}
}

// record pins a script of the tests.
func record(script, body string, effects ...spec.Effect) spec.Script {
	return spec.Script{Package: "tool", Script: script, SHA256: digestOf([]byte(body)), Effects: effects, Why: "tested"}
}

func TestMatchGivesEffectsInTheOrderOfInstallation(t *testing.T) {
	scripts := []deb.Script{{Name: "postinst", Data: []byte("b")}, {Name: "postrm", Data: []byte("x")}, {Name: "preinst", Data: []byte("a")},
		{Name: "triggers", Data: []byte("# by a tool\nactivate-noawait ldconfig\ninterest /usr/share/x\n")}}
	extra := []spec.Script{
		record("postinst", "b", spec.Effect{Op: "directory", Path: "/b"}), record("preinst", "a", spec.Effect{Op: "directory", Path: "/a"}),
		record("preinst", "b", spec.Effect{Op: "directory", Path: "/wrong"}),
	}
	got, err := Match("tool", scripts, extra)
	want := []spec.Effect{{Op: "directory", Path: "/a"}, {Op: "directory", Path: "/b"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("Match: %v\n%s", err, d)
	}
}

func TestMatchStopsAtAnUnknownScript(t *testing.T) {
	body := "#!/bin/sh\nset -e\nhello() { adduser --system x; }\nif [ \"$1\" = configure ]; then hello; ln -s a b && ln -s c d; fi\n"
	_, err := Match("tool", []deb.Script{{Name: "postinst", Data: []byte(body)}}, []spec.Script{record("postinst", body+"#")})
	if diag.IDOf(err) != diag.UnknownScript {
		t.Fatalf("error %v, want %s", err, diag.UnknownScript)
	}
	if !strings.HasSuffix(err.Error(), "it runs: adduser, ln") {
		t.Errorf("error %q does not list the commands", err)
	}
	next := err.(*diag.Error).NextStep()
	if want := "script \"tool\" \"postinst\" {\n  sha256  = \"" + digestOf([]byte(body)) + "\"\n"; !strings.Contains(next, want) {
		t.Errorf("next step %q does not hold the block to write", next)
	}
}

func TestMatchRefusesAMalformedEffect(t *testing.T) {
	for _, e := range []spec.Effect{{Op: "chmod"}, {Op: "symlink", Path: "/a"}, {Op: "directory", Path: "/a", Mode: "rwx"},
		{Op: "file", Path: "/a", Owner: "root"}, {Op: "file", Path: "/a", Mode: "4755"}} {
		if _, err := Match("tool", []deb.Script{{Name: "postinst"}}, []spec.Script{record("postinst", "", e)}); err == nil {
			t.Errorf("effect %+v was accepted", e)
		}
	}
}

func TestTriggersThatRunSomethingNeedARecord(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "interest-noawait ldconfig\n": true, "activate x # why\n": true, "\n# only a comment\n": true,
		"execute x\n": false, "interest\n": false, "#!/bin/sh\nrm -rf /\n": false,
	} {
		if got := declaresOnly([]byte(text)); got != want {
			t.Errorf("declaresOnly(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestCommands(t *testing.T) {
	for script, want := range map[string]string{
		"":                                      "(no command)",
		"set -e; exit 0":                        "(no command)",
		"#!/usr/bin/perl\nsystem('rm')":         "(not a shell script: /usr/bin/perl)",
		"a; b | c; $(d) && `e`\nFOO=1 a x":      "a, b, c, (a computed command), d, e",
		"case $1 in x) y;; esac; [ -x z ] && z": "y, z",
	} {
		if got := strings.Join(Commands([]byte(script)), ", "); got != want {
			t.Errorf("Commands(%q) = %s, want %s", script, got, want)
		}
	}
	if got := Commands([]byte("if then")); len(got) != 1 || !strings.HasPrefix(got[0], "(not parsed") {
		t.Errorf("Commands of a broken script = %v", got)
	}
}

func FuzzCommands(f *testing.F) {
	f.Add("#!/bin/sh\nif a; then b; fi")
	f.Fuzz(func(t *testing.T, script string) {
		if got := Commands([]byte(script)); len(got) == 0 || len(got) > maxCommands+1 {
			t.Errorf("%d commands", len(got))
		}
	})
}
