package release

import (
	"path"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	f.Add("Suite: a\nCodename: b\nDate: Mon, 01 Jun 2026 12:00:00 UTC\nSHA256:\n " + sum + " 0 main/binary-amd64/Packages\n")
	f.Add("Date: Mon, 1 Jun 2026 12:00:00 +0000\nValid-Until: x\n")
	f.Add("SHA256:\n " + sum + " 9999999999999999999 ../x\n")
	f.Add(" : \n\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parse(text)
		if err != nil {
			return
		}
		if r.Date.IsZero() {
			t.Error("a release without a Date was accepted")
		}
		for name, x := range r.Files {
			if path.IsAbs(name) || strings.HasPrefix(path.Clean(name), "..") || x.Size < 0 || len(x.SHA256) != 64 {
				t.Errorf("file %q %+v", name, x)
			}
		}
	})
}

func FuzzFraming(f *testing.F) {
	const whole = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n- -dash\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
	f.Add([]byte(whole))
	f.Add([]byte(whole + whole))
	f.Add([]byte("x\n" + whole))
	f.Add([]byte(whole + "x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkFraming(data) != nil {
			return
		}
		s := string(data)
		if !strings.HasPrefix(s, "-----BEGIN PGP SIGNED MESSAGE-----\n") || strings.Count("\n"+s, "\n-----BEGIN PGP SIGNED MESSAGE-----\n") != 1 ||
			strings.Count("\n"+s, "\n-----BEGIN PGP SIGNATURE-----\n") != 1 || !strings.HasSuffix(strings.TrimRight(s, "\n"), "-----END PGP SIGNATURE-----") {
			t.Errorf("framing of %q accepted", s)
		}
	})
}
