package release_test

import (
	"strings"
	"testing"
	"time"

	"forge/internal/archive/archivetest"
	"forge/internal/archive/release"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

var (
	born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	date = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 6, 2, 12, 0, 0, 0, time.UTC)
)

const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

const text = `Origin: Test
Label: Test
Suite: stable
Codename: trixie
Version: 13.1
Date: Mon, 01 Jun 2026 12:00:00 UTC
Acquire-By-Hash: yes
Architectures: all amd64
Components: main
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages
 d41d8cd98f00b204e9800998ecf8427e 0 main/binary-arm64/Packages
SHA256:
 ` + hash + ` 0 main/binary-amd64/Packages
`

func sign(text string, keys ...*archivetest.Key) []byte {
	return archivetest.ClearSign([]byte(text), archivetest.SignOptions{At: date}, keys...)
}

func keyring(t *testing.T, signedBy []string, keys ...*archivetest.Key) release.Keyring {
	t.Helper()
	k, err := release.ParseKeyring(archivetest.Keyring(keys...), signedBy)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestReadGivesFields(t *testing.T) {
	key := archivetest.NewKey("A", born, archivetest.KeyOptions{})
	r, err := release.Read(sign(text, key), keyring(t, nil, key), now)
	if err != nil {
		t.Fatal(err)
	}
	if r.Codename != "trixie" || !r.Date.Equal(date) || !r.ByHash || r.Signer != key.Fingerprint() {
		t.Errorf("Read = %+v", r)
	}
	if f, ok, err := r.File("main/binary-amd64/Packages"); !ok || err != nil || f.SHA256 != hash {
		t.Errorf("File = %+v, %v, %v", f, ok, err)
	}
	if _, _, err := r.File("main/binary-arm64/Packages"); diag.IDOf(err) != diag.WeakAlgorithm {
		t.Errorf("File with MD5 only: error %v, want WeakAlgorithm", err)
	}
}

func TestSignatures(t *testing.T) {
	good := archivetest.NewKey("Good", born, archivetest.KeyOptions{})
	other := archivetest.NewKey("Other", born, archivetest.KeyOptions{})
	sub := archivetest.NewKey("Sub", born, archivetest.KeyOptions{Subkey: true})
	expired := archivetest.NewKey("Expired", born, archivetest.KeyOptions{Lifetime: 24 * time.Hour})
	revoked := archivetest.NewKey("Revoked", born, archivetest.KeyOptions{Revoked: true})
	at := func(o archivetest.SignOptions, k *archivetest.Key) []byte {
		return archivetest.ClearSign([]byte(text), o, k)
	}
	for _, c := range []struct {
		name     string
		data     []byte
		keys     []*archivetest.Key
		signedBy []string
		want     diag.ID
	}{
		{"good", sign(text, good), []*archivetest.Key{good}, nil, ""},
		{"unsigned", []byte(text), []*archivetest.Key{good}, nil, diag.BadSignature},
		{"unknown key", sign(text, other), []*archivetest.Key{good}, nil, diag.BadSignature},
		{"unknown and good", sign(text, other, good), []*archivetest.Key{good}, nil, ""},
		{"expired and good", sign(text, expired, good), []*archivetest.Key{expired, good}, nil, ""},
		{"expired key", sign(text, expired), []*archivetest.Key{expired}, nil, diag.BadSignature},
		{"revoked key", sign(text, revoked), []*archivetest.Key{revoked}, nil, diag.BadSignature},
		{"expired signature", at(archivetest.SignOptions{At: date, Lifetime: time.Hour}, good), []*archivetest.Key{good}, nil, diag.BadSignature},
		{"signature from the future", at(archivetest.SignOptions{At: now.Add(time.Minute)}, good), []*archivetest.Key{good}, nil, diag.BadSignature},
		{"signature 5 s ahead", at(archivetest.SignOptions{At: now.Add(5 * time.Second)}, good), []*archivetest.Key{good}, nil, ""},
		{"changed text", []byte(strings.Replace(string(sign(text, good)), "13.1", "13.2", 1)), []*archivetest.Key{good}, nil, diag.BadSignature},
		{"signed_by it", sign(text, good), []*archivetest.Key{good, other}, []string{good.Fingerprint()}, ""},
		{"signed_by another", sign(text, good), []*archivetest.Key{good, other}, []string{other.Fingerprint()}, diag.BadSignature},
		{"signed_by primary, subkey signs", sign(text, sub), []*archivetest.Key{sub}, []string{sub.Fingerprint()}, ""},
		{"signed_by exactly primary, subkey signs", sign(text, sub), []*archivetest.Key{sub}, []string{sub.Fingerprint() + "!"}, diag.BadSignature},
		{"signed_by exactly subkey", sign(text, sub), []*archivetest.Key{sub}, []string{sub.SigningFingerprint() + "!"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := release.Read(c.data, keyring(t, c.signedBy, c.keys...), now)
			if got := diag.IDOf(err); got != c.want || (err == nil) != (c.want == "") {
				t.Errorf("Read = %v (id %q), want id %q", err, got, c.want)
			}
		})
	}
}

func TestFraming(t *testing.T) {
	key := archivetest.NewKey("A", born, archivetest.KeyOptions{})
	ring := keyring(t, nil, key)
	whole := string(sign(text, key))
	change := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	for name, data := range map[string]string{
		"text before":             "Origin: Evil\n" + whole,
		"empty line before":       "\n" + whole,
		"text after":              whole + "Origin: Evil\n",
		"two messages":            whole + whole,
		"text between":            change("-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----\nOrigin: Evil\n-----BEGIN PGP SIGNATURE-----"),
		"unclosed":                change("-----END PGP SIGNATURE-----\n", ""),
		"no signature":            whole[:strings.Index(whole, "-----BEGIN PGP SIGNATURE-----")],
		"empty signature":         whole[:strings.Index(whole, "-----BEGIN PGP SIGNATURE-----")] + "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
		"blanks after the marker": change("-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP SIGNATURE----- "),
		"blanks before end":       change("-----END PGP SIGNATURE-----", " -----END PGP SIGNATURE-----"),
		"another header":          change("Hash: ", "Comment: x\nHash: "),
		"unexpected dash line":    change("Label: Test", "-----BEGIN PGP MESSAGE-----"),
		"NUL":                     change("Label: Test", "Label: \x00"),
		"carriage return":         change("Label: Test\n", "Label: Test\r\n"),
		"very long line":          change("Label: Test", "Label: "+strings.Repeat("x", 1<<17)),
		"garbage in signature":    change("-----END PGP SIGNATURE-----", "????\n-----END PGP SIGNATURE-----"),
		"empty":                   "",
	} {
		if _, err := release.Read([]byte(data), ring, now); diag.IDOf(err) != diag.BadSignature {
			t.Errorf("%s: Read = %v, want BadSignature", name, err)
		}
	}
	if _, err := release.Read(make([]byte, release.MaxSize+1), ring, now); diag.IDOf(err) != diag.TooLarge {
		t.Errorf("too large: %v", err)
	}
}

func TestFieldsRefused(t *testing.T) {
	key := archivetest.NewKey("A", born, archivetest.KeyOptions{})
	ring := keyring(t, nil, key)
	for name, c := range map[string]struct {
		text string
		want diag.ID
	}{
		"no Date":          {strings.Replace(text, "Date: ", "Data: ", 1), diag.MalformedIndex},
		"broken Date":      {strings.Replace(text, "01 Jun", "41 Jun", 1), diag.MalformedIndex},
		"Date in a zone":   {strings.Replace(text, "00 UTC", "00 CEST", 1), diag.MalformedIndex},
		"field twice":      {text + "Suite: evil\n", diag.MalformedIndex},
		"second stanza":    {text + "\nSuite: evil\n", diag.MalformedIndex},
		"path upwards":     {text + " " + hash + " 0 ../x\n", diag.MalformedIndex},
		"absolute path":    {text + " " + hash + " 0 /etc/x\n", diag.MalformedIndex},
		"negative size":    {text + " " + hash + " -1 x\n", diag.MalformedIndex},
		"short hash":       {text + " e3b0 0 x\n", diag.MalformedIndex},
		"path twice":       {text + " " + hash + " 7 main/binary-amd64/Packages\n", diag.MalformedIndex},
		"weak hashes only": {text[:strings.Index(text, "SHA256:")], diag.WeakAlgorithm},
	} {
		if _, err := release.Read(sign(c.text, key), ring, now); diag.IDOf(err) != c.want {
			t.Errorf("%s: Read = %v, want %s", name, err, c.want)
		}
	}
}

func TestWeakSignaturesAreNamed(t *testing.T) {
	sha1 := archivetest.NewKey("A", born, archivetest.KeyOptions{})
	short := archivetest.NewKey("B", born, archivetest.KeyOptions{RSABits: 1024})
	data := archivetest.ClearSign([]byte(text), archivetest.SignOptions{At: date, SHA1: true}, sha1)
	if _, err := release.Read(data, keyring(t, nil, sha1), now); diag.IDOf(err) != diag.WeakAlgorithm {
		t.Errorf("SHA-1: %v, want WeakAlgorithm", err)
	}
	if _, err := release.Read(sign(text, short), keyring(t, nil, short), now); diag.IDOf(err) != diag.WeakAlgorithm {
		t.Errorf("RSA-1024: %v, want WeakAlgorithm", err)
	}
}

func TestCheckTime(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name       string
		age, valid time.Duration // of the release, before now; valid is counted from Date
		archive    spec.Archive
		want       diag.ID
	}{
		{"fresh", day, 7 * day, spec.Archive{}, ""},
		{"expired", 8 * day, 7 * day, spec.Archive{}, diag.ReleaseExpired},
		{"expired, as_of before", 8 * day, 7 * day, spec.Archive{AsOf: "2026-06-01"}, ""},
		{"expired, as_of too late", 10 * day, 7 * day, spec.Archive{AsOf: "2026-06-01"}, diag.ReleaseExpired},
		{"as_of too far back", day, 7 * day, spec.Archive{AsOf: "2026-05-01"}, diag.ReleaseExpired},
		{"as_of in the future", day, 7 * day, spec.Archive{AsOf: "2026-06-03"}, diag.InvalidTemplate},
		{"snapshot long ago", 300 * day, 7 * day, spec.Archive{Snapshot: "20250808T000000Z"}, ""},
		{"from the future", -time.Minute, 7 * day, spec.Archive{}, diag.ReleaseExpired},
		{"from the future, as_of", -time.Minute, 7 * day, spec.Archive{AsOf: "2026-06-01"}, diag.ReleaseExpired},
		{"5 s ahead", -5 * time.Second, 7 * day, spec.Archive{}, ""},
		{"unbounded", 179 * day, 0, spec.Archive{}, ""},
		{"unbounded and old", 181 * day, 0, spec.Archive{}, diag.ReleaseExpired},
		{"unbounded, own max_age", 2 * day, 0, spec.Archive{MaxAge: "24h"}, diag.ReleaseExpired},
		{"max_age below Valid-Until", 2 * day, 7 * day, spec.Archive{MaxAge: "24h"}, diag.ReleaseExpired},
		{"max_age above Valid-Until", 8 * day, 7 * day, spec.Archive{MaxAge: "2400h"}, diag.ReleaseExpired},
	} {
		r := &release.Release{Date: now.Add(-c.age)}
		if c.valid > 0 {
			r.ValidUntil = r.Date.Add(c.valid)
		}
		if err := r.CheckTime(c.archive, now); diag.IDOf(err) != c.want {
			t.Errorf("%s: CheckTime = %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCheckIdentity(t *testing.T) {
	r := &release.Release{Origin: "Debian", Label: "Debian", Suite: "stable", Codename: "trixie", Date: date}
	locked := lock.Release{Origin: "Debian", Label: "Debian", Codename: "trixie", Date: date.Format(time.RFC3339)}
	change := func(f func(*lock.Release)) *lock.Release { l := locked; f(&l); return &l }
	for _, c := range []struct {
		name   string
		suite  string
		locked *lock.Release
		accept bool
		want   diag.ID
	}{
		{"by codename", "trixie", nil, false, ""},
		{"by suite", "stable", &locked, false, ""},
		{"another suite", "bookworm", nil, false, diag.ReleaseChanged},
		{"rollback", "trixie", change(func(l *lock.Release) { l.Date = date.Add(time.Second).Format(time.RFC3339) }), false, diag.ReleaseRollback},
		{"rollback stays one", "trixie", change(func(l *lock.Release) { l.Date = date.Add(time.Second).Format(time.RFC3339) }), true, diag.ReleaseRollback},
		{"origin changed", "trixie", change(func(l *lock.Release) { l.Origin = "Evil" }), false, diag.ReleaseChanged},
		{"codename changed", "stable", change(func(l *lock.Release) { l.Codename = "bookworm" }), false, diag.ReleaseChanged},
		{"codename changed, accepted", "stable", change(func(l *lock.Release) { l.Codename = "bookworm" }), true, ""},
	} {
		if err := r.CheckIdentity(spec.Archive{}, c.suite, c.locked, c.accept); diag.IDOf(err) != c.want {
			t.Errorf("%s: CheckIdentity = %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	key := archivetest.NewKey("A", born, archivetest.KeyOptions{})
	ring, err := release.ParseKeyring(archivetest.Keyring(key), nil)
	if err != nil {
		f.Fatal(err)
	}
	good := sign(text, key)
	f.Add(good)
	f.Add(append([]byte("x\n"), good...))
	f.Add(append(good, good...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := release.Read(data, ring, now)
		if err == nil && (r.Codename != "trixie" || len(r.Files) != 1) {
			t.Errorf("Read accepted what the key did not sign: %+v", r)
		}
	})
}
