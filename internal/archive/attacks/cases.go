package attacks

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"forge/internal/archive/archivetest"
	"forge/internal/diag"
)

// Cases lists every attack, by row.
func Cases() []Case {
	return slices.Concat(signatureCases(), framingCases(), timeCases(), hashCases(), transportCases(), indexCases(), lockCases())
}

var shaField = regexp.MustCompile(`SHA256: [0-9a-f]+`)

const (
	verification = "test-releasefile-verification"
	inRelease    = "dists/trixie/InRelease"
	packagesFile = "dists/trixie/main/binary-amd64/Packages"
)

func signatureCases() []Case {
	signedBy := func(sign ...func(*keys) *archivetest.Key) func(*world) {
		return func(w *world) {
			w.release(func(s *archivetest.Suite) {
				s.Keys = nil
				for _, k := range sign {
					s.Keys = append(s.Keys, k(w.keys))
				}
			})
		}
	}
	good := func(k *keys) *archivetest.Key { return k.good }
	unknown := func(k *keys) *archivetest.Key { return k.unknown }
	expired := func(k *keys) *archivetest.Key { return k.expired }
	revoked := func(k *keys) *archivetest.Key { return k.revoked }
	short := func(k *keys) *archivetest.Key { return k.short }
	sub := func(k *keys) *archivetest.Key { return k.sub }
	only := func(fingerprint func(*keys) string, sign func(*keys) *archivetest.Key) func(*world) {
		return func(w *world) {
			signedBy(sign)(w)
			w.set.Archives[0].SignedBy = []string{fingerprint(w.keys)}
		}
	}
	return []Case{
		{"A1", "release file without a signature", verification, diag.BadSignature, func(w *world) { w.files[inRelease] = text(w.files[inRelease]) }, nil},
		{"A1", "signed by an unknown key", verification, diag.BadSignature, signedBy(unknown), nil},
		{"A1", "signed by an expired key", verification, diag.BadSignature, signedBy(expired), nil},
		{"A1", "signed by a revoked key", verification, diag.BadSignature, signedBy(revoked), nil},
		{"A1", "signature expired", verification, diag.BadSignature, func(w *world) {
			w.release(func(s *archivetest.Suite) { s.Sign.Lifetime = time.Hour })
		}, nil},
		{"A1", "empty signature", verification, diag.BadSignature, replaceSignature("\n"), nil},
		{"A1", "garbage for a signature", verification, diag.BadSignature, replaceSignature("\nAAAA\n=AAAA\n"), nil},
		{"A1", "text changed after signing", verification, diag.BadSignature, swap("Label: Test", "Label: Tesd"), nil},
		{"A2", "two signatures, one known and good", verification, "", signedBy(unknown, good), nil},
		{"A2", "two signatures, one by an expired key, one good", verification, "", signedBy(expired, good), nil},
		{"A3", "signed by a key of the keyring that signed_by does not name", "test-signed-by-option", diag.BadSignature,
			only(func(k *keys) string { return k.other.Fingerprint() }, good), nil},
		{"A3", "signed_by wants exactly the primary key, a subkey signed", "test-signed-by-option", diag.BadSignature,
			only(func(k *keys) string { return k.sub.Fingerprint() + "!" }, sub), nil},
		{"A3", "signed_by names exactly the subkey that signed", "test-signed-by-option", "",
			only(func(k *keys) string { return k.sub.SigningFingerprint() + "!" }, sub), nil},
		{"A4", "signature over SHA-1", "test-method-gpgv", diag.WeakAlgorithm, func(w *world) {
			w.release(func(s *archivetest.Suite) { s.Sign.SHA1 = true })
		}, nil},
		{"A4", "signed by an RSA key of 1024 bits", "test-method-gpgv", diag.WeakAlgorithm, signedBy(short), nil},
	}
}

func framingCases() []Case {
	edit := func(f func(string) string) func(*world) {
		return func(w *world) { w.files[inRelease] = []byte(f(string(w.files[inRelease]))) }
	}
	const evil = "Origin: Evil\nSuite: trixie\n"
	one := "test-ubuntu-bug-784473-InRelease-one-message-only"
	return []Case{
		{"A5", "blanks in the signature block, unsigned release appended", "CVE-2013-1051", diag.BadSignature, edit(func(s string) string {
			return strings.Replace(s, "-----BEGIN PGP SIGNATURE-----\n", "-----BEGIN PGP SIGNATURE-----\n \n", 1) + evil
		}), nil},
		{"A6", "text before the message", one, diag.BadSignature, edit(func(s string) string { return evil + s }), nil},
		{"A6", "text after the message", one, diag.BadSignature, edit(func(s string) string { return s + evil }), nil},
		{"A6", "two messages", one, diag.BadSignature, edit(func(s string) string { return s + s }), nil},
		{"A6", "text between message and signature", one, diag.BadSignature, edit(func(s string) string {
			return strings.Replace(s, "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNED MESSAGE-----\n"+evil+"-----BEGIN PGP SIGNATURE-----", 1)
		}), nil},
		{"A6", "armor never closed", "CVE-2016-1252", diag.BadSignature, swap("-----END PGP SIGNATURE-----\n", ""), nil},
		{"A6", "unexpected dash line", "apt gpgv.cc", diag.BadSignature, swap("Label: Test", "-----BEGIN PGP MESSAGE-----\nLabel: Test"), nil},
		{"A6", "blanks after an armor line", "CVE-2015-0840", diag.BadSignature, swap("-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP SIGNATURE-----  "), nil},
		{"A6", "NUL in the text", "apt gpgv.cc", diag.BadSignature, swap("Label: Test", "Label: Te\x00st"), nil},
		{"A6", "very long line", "CVE-2016-1252", diag.BadSignature, swap("Label: Test", "Label: "+strings.Repeat("x", 1<<20)), nil},
		{"A7", "payload inside the signature block", "CVE-2019-3462", diag.BadSignature, func(w *world) {
			armor := strings.ReplaceAll(string(archivetest.Keyring(w.keys.good)), "PUBLIC KEY BLOCK", "SIGNATURE")
			s := string(w.files[inRelease])
			w.files[inRelease] = []byte(s[:strings.Index(s, "-----BEGIN PGP SIGNATURE-----")] + armor + "\n")
		}, nil},
		{"A8", "no longer signed: only Release is served", "test-apt-update-nofallback", diag.Transport, func(w *world) {
			w.files["dists/trixie/Release"] = text(w.files[inRelease])
			delete(w.files, inRelease)
		}, nil},
	}
}

func timeCases() []Case {
	date := func(at, until time.Time) func(*world) {
		return func(w *world) {
			w.release(func(s *archivetest.Suite) { s.Date, s.ValidUntil, s.Sign.At = at, until, second })
		}
	}
	change := func(f func(*archivetest.Suite)) func(*world) { return func(w *world) { w.release(f) } }
	header := func(old, new string) func(*world) {
		return change(func(s *archivetest.Suite) {
			s.EditRelease = func(t string) string { return strings.Replace(t, old, new, 1) }
		})
	}
	year := 365 * 24 * time.Hour
	return []Case{
		{"A9", "release older than the locked one", "test-releasefile-date-older", diag.ReleaseRollback, date(first.Add(-time.Hour), first.Add(year)), nil},
		{"A10", "Valid-Until has passed", "test-releasefile-valid-until", diag.ReleaseExpired, date(second, second.Add(time.Hour)), nil},
		{"A10", "Date in the future", "test-releasefile-date", diag.ReleaseExpired, date(now.Add(time.Minute), now.Add(year)), nil},
		{"A10", "Date 5 seconds ahead of this clock", "test-releasefile-date", "", date(now.Add(5*time.Second), now.Add(year)), nil},
		{"A10", "Date missing", "test-releasefile-date", diag.MalformedIndex, header("Date: ", "Datum: "), nil},
		{"A10", "expired, and as_of more than 30 days back", "test-releasefile-valid-until", diag.ReleaseExpired, func(w *world) {
			date(second, second.Add(time.Hour))(w)
			w.set.Archives[0].AsOf = "2026-04-01"
		}, nil},
		{"A10", "expired, resolved as of a recorded day", "test-releasefile-valid-until", "", func(w *world) {
			date(second, second.Add(time.Hour))(w)
			w.set.Archives[0].AsOf = "2026-06-01"
		}, nil},
		{"A10", "older than the lock, whatever as_of says", "test-releasefile-date-older", diag.ReleaseRollback, func(w *world) {
			date(first.Add(-time.Hour), first.Add(time.Hour))(w)
			w.set.Archives[0].AsOf = "2026-06-01"
		}, nil},
		{"A11", "Valid-Until years ahead, max_age exceeded", "test-releasefile-valid-until", diag.ReleaseExpired, func(w *world) {
			date(second, second.Add(year))(w)
			w.set.Archives[0].MaxAge = "1h"
		}, nil},
		{"A11", "no Valid-Until, frozen for half a year", "test-releasefile-valid-until", diag.ReleaseExpired, func(w *world) {
			date(now.Add(-year), time.Time{})(w)
			w.locked = nil
		}, nil},
		{"A23", "origin changed since the lock", "test-apt-update-releaseinfo-changes", diag.ReleaseChanged, change(func(s *archivetest.Suite) { s.Origin = "Evil" }), nil},
		{"A23", "codename changed since the lock", "test-apt-update-releaseinfo-changes", diag.ReleaseChanged, header("Codename: trixie", "Codename: forky"), nil},
		{"A23", "another suite's release", "test-bug-841874-warning-for-mismatching-distribution", diag.ReleaseChanged, change(func(s *archivetest.Suite) {
			s.EditRelease = func(t string) string { return strings.ReplaceAll(t, "trixie", "bookworm") }
		}), nil},
	}
}

func hashCases() []Case {
	hashes := func(f func(list string) string) func(*world) {
		return func(w *world) {
			w.release(func(s *archivetest.Suite) {
				s.EditRelease = func(t string) string {
					head, list, _ := strings.Cut(t, "SHA256:\n")
					return head + f(list)
				}
			})
		}
	}
	weak := func(list string) string { return "MD5Sum:\n" + list }
	// indexes gives the amd64 indexes, those kept by hash or the others, another
	// content, or none.
	indexes := func(w *world, byHash bool, data []byte) {
		for name := range w.files {
			if strings.Contains(name, "/by-hash/") != byHash || !strings.Contains(name, "binary-amd64") {
				continue
			}
			if w.files[name] = data; data == nil {
				delete(w.files, name)
			}
		}
	}
	return []Case{
		{"A12", "once valid index under a new release", "test-apt-update-stale", diag.HashMismatch, func(w *world) {
			w.publish(first, "1.0-1", nil)
			old := w.files
			w.release(nil)
			for name, data := range old {
				if strings.HasPrefix(name, packagesFile) {
					w.files[name] = data
				}
			}
			indexes(w, true, nil)
		}, nil},
		{"A13", "MD5 only", "test-apt-update-weak-hashes", diag.WeakAlgorithm, hashes(weak), nil},
		{"A13", "MD5 only for one index", "test-apt-update-weak-hashes", diag.WeakAlgorithm, hashes(func(list string) string {
			var strong, rest strings.Builder
			for line := range strings.Lines(list) {
				if strings.Contains(line, "binary-arm64") {
					rest.WriteString(line)
				} else {
					strong.WriteString(line)
				}
			}
			return "SHA256:\n" + strong.String() + weak(rest.String())
		}), nil},
		{"A13", "no hashes at all", "test-apt-update-weak-hashes", diag.MalformedIndex, hashes(func(string) string { return "" }), nil},
		{"A14", "one index bad, the others good", "test-apt-update-rollback", diag.HashMismatch, func(w *world) {
			for name := range w.files {
				if strings.Contains(name, "binary-arm64") {
					w.files[name] = []byte("rubbish")
				}
			}
		}, nil},
		{"A15", "wrong content by hash, right content by path", "test-apt-by-hash-update", "", func(w *world) { indexes(w, true, []byte("rubbish")) }, nil},
		{"A15", "nothing by hash, right content by path", "test-apt-by-hash-update", "", func(w *world) { indexes(w, true, nil) }, nil},
		{"A15", "wrong content by hash, nothing by path", "test-apt-by-hash-update", diag.HashMismatch, func(w *world) {
			indexes(w, false, nil)
			indexes(w, true, []byte("rubbish"))
		}, nil},
		{"A21", "unpacks to more than the release says", "CVE-2014-0489", diag.HashMismatch, repack(func(plain []byte) []byte { return append(plain, make([]byte, 4<<20)...) }), nil},
		{"A21", "packed hash right, content another", "CVE-2014-0489", diag.HashMismatch, repack(func(plain []byte) []byte {
			return bytes.Replace(plain, []byte("app"), []byte("evl"), 1)
		}), nil},
		{"A21", "packed hash right, packed content broken", "CVE-2014-0489", diag.MalformedIndex, rewrap(func([]byte) []byte { return []byte("no xz stream at all") }), nil},
	}
}

func transportCases() []Case {
	hook := func(h archivetest.Hook) func(*world) { return func(w *world) { w.server.SetHook(h) } }
	redirect := func(to string) func(*world) {
		return hook(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Location", to)
			rw.WriteHeader(http.StatusFound)
			return true
		})
	}
	stream := func(suffix string) func(*world) {
		return hook(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, suffix) && !strings.Contains(r.URL.Path, "/by-hash/") {
				return false
			}
			chunk := make([]byte, 64<<10)
			for {
				if _, err := rw.Write(chunk); err != nil {
					return true
				}
			}
		})
	}
	status := func(code int) archivetest.Hook {
		return func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(code); return true }
	}
	debs := func(f func([]byte) []byte) func(*world) {
		return func(w *world) {
			w.publish(first, "1.0-1", nil)
			for name, data := range w.files {
				if strings.HasSuffix(name, ".deb") {
					w.files[name] = f(data)
				}
			}
		}
	}
	return []Case{
		{"A16", "endless release file", "apt MaxReleaseFileSize", diag.TooLarge, hook(func(rw http.ResponseWriter, _ *http.Request) bool {
			for chunk := make([]byte, 1<<20); ; {
				if _, err := rw.Write(chunk); err != nil {
					return true
				}
			}
		}), nil},
		{"A16", "endless index", "test-apt-update-expected-size", diag.HashMismatch, stream("Packages.xz"), nil},
		{"A16", "package longer than listed", "test-apt-update-filesize-mismatch", diag.HashMismatch, debs(func(d []byte) []byte { return append(slices.Clone(d), 0) }), download},
		{"A16", "package shorter than listed", "test-apt-update-filesize-mismatch", diag.HashMismatch, debs(func(d []byte) []byte { return d[:len(d)-1] }), download},
		{"A16", "package of the right size, one bit flipped", "test-apt-update-hashsum-mismatch", diag.HashMismatch, debs(func(d []byte) []byte {
			d = slices.Clone(d)
			d[len(d)/2] ^= 1
			return d
		}), download},
		{"A17", "connection cut, resumed with another file", "test-partial-file-support", "", func(w *world) {
			w.publish(first, "1.0-1", nil)
			w.server.SetHook(cutThenLie(w.files))
		}, download},
		{"A18", "\"not modified\" to a request that did not ask", "CVE-2014-0487", diag.Transport, func(w *world) {
			os.RemoveAll(filepath.Join(w.dir, "cache", "answers"))
			w.server.SetHook(status(http.StatusNotModified))
		}, nil},
		{"A19", "redirect with an encoded newline", "CVE-2019-3462", diag.Transport, func(w *world) {
			w.server.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
				if honest, _, ok := strings.Cut(r.URL.Path, "\n"); ok { // what a careless client would be given
					archivetest.Respond(rw, r, w.files[strings.TrimPrefix(honest, "/debian/")])
					return true
				}
				rw.Header().Set("Location", r.URL.Path+"%0a%0a201%20URI%20Done%0aSHA256-Hash:%20evil")
				rw.WriteHeader(http.StatusFound)
				return true
			})
		}, nil},
		{"A19", "redirect loop", "test-apt-redirect-loop", diag.Transport, redirect("/debian/dists/trixie/InRelease"), nil},
		{"A19", "redirect to a file of this machine", "test-apt-https-no-redirect", diag.Transport, redirect("file:///etc/hostname"), nil},
		{"A19", "captive portal answers every request", "test-ubuntu-bug-346386-apt-get-update-paywall", diag.BadSignature, hook(func(rw http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(rw, "<html>Please log in</html>")
			return true
		}), nil},
		{"A20", "second mirror gives another index under the first one's release", "CVE-2018-0501", diag.HashMismatch, func(w *world) {
			w.roots = []string{archiveName, "evil"}
			evil := archivetest.Files{}
			for name, data := range w.files {
				if strings.Contains(name, "binary-") {
					evil[name] = bytes.Replace(data, []byte("app"), []byte("evl"), 1)
					delete(w.files, name)
				}
			}
			w.server.Put("evil", evil)
		}, nil},
		{"T1", "server error for ever", "test-bug-869859-retry-downloads", diag.Transport, hook(status(500)), nil},
		{"T2", "server error once, then fine", "test-bug-869859-retry-downloads", "", func(w *world) {
			w.server.SetHook(once(status(500)))
		}, nil},
		{"T3", "asked to come back later once, then fine", "test-ubuntu-bug-2003851-retry-after", "", func(w *world) {
			w.server.SetHook(once(func(rw http.ResponseWriter, _ *http.Request) bool {
				rw.Header().Set("Retry-After", "1000000")
				rw.WriteHeader(http.StatusTooManyRequests)
				return true
			}))
		}, nil},
		{"T4", "server stalls", "slow retrieval (TUF)", diag.Transport, func(w *world) {
			w.stall = 100 * time.Millisecond
			w.server.SetHook(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		}, nil},
		{"T5", "package gone from pool and snapshot service", "test-snapshot", diag.PackageGone, func(w *world) {}, download},
		{"T6", "package gone from the pool, the snapshot service has it", "test-snapshot", "", func(w *world) {
			w.publish(first, "1.0-1", nil)
			moment := "archive/debian/" + first.Add(8*time.Hour).Format("20060102T150405Z") + "/"
			past := archivetest.Files{}
			for name, data := range w.files {
				past[moment+name] = data
			}
			w.release(nil)
			w.server.Put("snapshot", past)
		}, download},
	}
}

func indexCases() []Case {
	edit := func(old, new string) func(*world) {
		return func(w *world) {
			w.release(func(s *archivetest.Suite) {
				s.EditIndex = func(_, t string) string { return strings.Replace(t, old, new, 1) }
			})
		}
	}
	const escape, fields = "test-uri-encode-filename-field", "apt tagfile tests"
	return []Case{
		{"A24", "file name upwards", escape, diag.MalformedIndex, edit("Filename: pool/", "Filename: ../../"), nil},
		{"A24", "absolute file name", escape, diag.MalformedIndex, edit("Filename: pool/", "Filename: /etc/"), nil},
		{"A24", "file name upwards, encoded", escape, diag.MalformedIndex, edit("Filename: pool/", "Filename: pool/%2e%2e/"), nil},
		{"A24", "file name on another host", escape, diag.MalformedIndex, edit("Filename: pool/", "Filename: http://evil.example/"), nil},
		{"A25", "field twice in a stanza", fields, diag.MalformedIndex, edit("Priority: optional\n", "Priority: optional\nVersion: 9\n"), nil},
		{"A25", "package of another architecture", fields, diag.MalformedIndex, edit("Architecture: all", "Architecture: sparc"), nil},
		{"A25", "same package twice with other hashes", fields, diag.Unresolvable, func(w *world) {
			w.release(func(s *archivetest.Suite) {
				s.EditIndex = func(_, t string) string {
					return t + shaField.ReplaceAllString(t, "SHA256: "+strings.Repeat("0", 64))
				}
			})
		}, nil},
		{"A25", "hash that is none", fields, diag.MalformedIndex, edit("SHA256: ", "SHA256: zz"), nil},
		{"A25", "binary noise for an index", fields, diag.MalformedIndex, func(w *world) {
			w.release(func(s *archivetest.Suite) { s.EditIndex = func(_, _ string) string { return "\x7fELF\x00\x01\x02" } })
		}, nil},
	}
}

func lockCases() []Case {
	tamper := func(f func(w *world)) func(*world) {
		return func(w *world) {
			w.publish(first, "1.0-1", nil)
			f(w)
		}
	}
	return []Case{
		{"L1", "untouched lock chains to signed indexes", "", "", tamper(func(*world) {}), chain},
		{"L2", "a hash in the lock changed by hand", "", diag.LockUnchained, tamper(func(w *world) {
			w.locked.Images[0].Packages[0].SHA256 = strings.Repeat("0", 64)
		}), chain},
		{"L3", "a package's version in the lock changed by hand", "", diag.LockUnchained, tamper(func(w *world) {
			w.locked.Images[0].Packages[0].Version = "0.9-1"
		}), chain},
		{"L4", "a package put into the lock by hand", "", diag.LockUnchained, tamper(func(w *world) {
			p := w.locked.Images[0].Packages[0]
			p.Name = "backdoor"
			w.locked.Images[0].Packages = append(w.locked.Images[0].Packages, p)
		}), chain},
		{"L5", "a package of a suite that the lock does not have", "", diag.LockUnchained, tamper(func(w *world) {
			w.locked.Images[0].Packages[0].Suite = "sid"
		}), chain},
		{"L6", "a release's hash in the lock changed by hand", "", diag.LockUnchained, tamper(func(w *world) {
			w.locked.Releases[0].SHA256 = strings.Repeat("0", 64)
		}), chain},
		{"L7", "a release's signer in the lock changed by hand", "", diag.LockUnchained, tamper(func(w *world) {
			w.locked.Releases[0].Fingerprint = strings.Repeat("0", 40)
		}), chain},
		{"F8", "cached index damaged on disk", "", "", tamper(func(w *world) {
			w.damage("indexes/*")
		}), chain},
		{"F8", "cached release file damaged on disk", "", "", func(w *world) {
			w.damage("blobs/sha256/*")
		}, nil},
		{"F8", "cached package damaged on disk", "", "", tamper(func(*world) {}), func(ctx context.Context, w *world) error {
			if err := download(ctx, w); err != nil {
				return err
			}
			for _, p := range w.locked.Images[0].Packages {
				w.damage("blobs/sha256/" + p.SHA256)
			}
			return download(ctx, w)
		}},
	}
}
