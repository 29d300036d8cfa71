package attacks

import (
	"io"
	"strings"

	"forge/internal/diag"
)

const bad = diag.MalformedPackage

// one is an attack of one package.
func one(id, title string, want diag.ID, entries ...tarEntry) Case {
	return Case{ID: id, Title: title, Want: want, packages: [][]byte{debOf("package1", entries...)}}
}

// file is an attack by the bytes of a package file.
func file(id, title string, want diag.ID, data []byte) Case {
	return Case{ID: id, Title: title, Want: want, packages: [][]byte{data}}
}

// two is an attack of two packages.
func two(id, title string, want diag.ID, first, second tarEntry) Case {
	return Case{ID: id, Title: title, Want: want, packages: [][]byte{debOf("package1", first), debOf("package2", second)}}
}

// Cases lists every attack, by row.
func Cases() []Case {
	var all []Case
	for _, rows := range [][]Case{archiveCases(), pathCases(), linkCases(), kindCases(), sizeCases(), conflictCases()} {
		all = append(all, rows...)
	}
	return all
}

func archiveCases() []Case {
	control, data := controlTar("package1"), member{name: "data.tar", body: tarOf()}
	whole := arOf(debianBinary, control, data)
	return []Case{
		file("A22", "package without entries is fine", "", whole),
		file("A22", "member with underscore between is ignored", "", arOf(debianBinary, member{name: "_sig", body: []byte("x")}, control, data)),
		file("A22", "member after data.tar is ignored", "", arOf(debianBinary, control, data, member{name: "extra", body: []byte("x")})),
		file("A22", "format version 2.7 is fine", "", arOf(member{name: "debian-binary", body: []byte("2.7\nmore\n")}, control, data)),
		file("A22", "wrong ar magic", bad, []byte("!<arsh>\n")),
		file("A22", "empty file", bad, nil),
		file("A22", "file cut within a header", bad, whole[:40]),
		file("A22", "file cut within a member", bad, whole[:len(whole)-600]),
		file("A22", "member of negative size", bad, arOf(debianBinary, member{name: "control.tar", size: "-1"}, data)),
		file("A22", "member larger than the file", bad, arOf(debianBinary, member{name: "control.tar", size: "9999999999"}, data)),
		file("A22", "member whose size is no number", bad, arOf(debianBinary, member{name: "control.tar", size: "0x10"}, data)),
		file("A22", "no debian-binary", bad, arOf(control, data)),
		file("A22", "format version 3.0", bad, arOf(member{name: "debian-binary", body: []byte("3.0\n")}, control, data)),
		file("A22", "no control.tar", bad, arOf(debianBinary, data)),
		file("A22", "no data.tar", bad, arOf(debianBinary, control)),
		file("A22", "control.tar after data.tar", bad, arOf(debianBinary, data, control)),
		file("A22", "two data.tar", bad, arOf(debianBinary, control, data, data)),
		file("A22", "unknown member before data.tar", bad, arOf(debianBinary, control, member{name: "surprise"}, data)),
		file("A22", "unknown compression", bad, arOf(debianBinary, control, member{name: "data.tar.bad", body: data.body})),
		file("A22", "xz that is none", bad, arOf(debianBinary, control, member{name: "data.tar.xz", body: []byte("nonsense")})),
		file("A22", "zstd that ends early", bad, arOf(debianBinary, control, member{name: "data.tar.zst", body: []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04}})),
		file("A22", "empty gzip", bad, arOf(debianBinary, control, member{name: "data.tar.gz"})),
		file("A22", "control file without a name", bad, arOf(debianBinary, member{name: "control.tar", body: tarOf(tarEntry{name: "./control", body: "Version: 1\n"})}, data)),
		file("A22", "control part with a link", bad, arOf(debianBinary, member{name: "control.tar", body: tarOf(tarEntry{name: "./control", kind: '2', link: "/etc/passwd"})}, data)),
		file("A22", "package of another name", bad, arOf(debianBinary, controlTar("other"), data)),
		file("A22", "tar without an end", bad, arOf(debianBinary, control, member{name: "data.tar", body: []byte{}})),
		file("A22", "bytes after the end of the tar", bad, arOf(debianBinary, control, member{name: "data.tar", body: append(tarOf(), "more"...)})),
	}
}

func pathCases() []Case {
	many := strings.Repeat("d/", 2100) + "f"
	return []Case{
		one("X1", "path that climbs out", bad, tarEntry{name: "../victim", body: "x"}),
		one("X1", "path that climbs out later", bad, tarEntry{name: "./a/../../victim", body: "x"}),
		one("X1", "absolute path", bad, tarEntry{name: "/victim", body: "x"}),
		one("X1", "empty path component", bad, tarEntry{name: "./a//b", body: "x"}),
		one("X1", "zero byte in a long name", bad, tarEntry{name: "././@LongLink", kind: 'L', body: "./a\x00b\x00"}, tarEntry{name: "./a"}),
		one("X1", "newline in a path", bad, tarEntry{name: "./a\nb", body: "x"}),
		one("X1", "path that is not UTF-8", bad, tarEntry{name: "./a\xff", body: "x"}),
		one("X1", "file with a trailing slash", bad, tarEntry{name: "./a/", body: "x"}),
		one("X1", "root that is a file", bad, tarEntry{name: "./", body: "x"}),
		one("X7", "names that differ in case only are two files", "", tarEntry{name: "./a", body: "x"}, tarEntry{name: "./A", body: "y"}),
		one("X8", "path of more than 4096 bytes", bad, tarEntry{name: many, body: "x"}),
		one("X8", "path component of 256 bytes", bad, tarEntry{name: "./" + strings.Repeat("n", 256), body: "x"}),
		one("X8", "path component of 255 bytes is fine", "", tarEntry{name: "./" + strings.Repeat("n", 255), body: "x"}),
		one("X10", "deletion mark of an image layer", bad, tarEntry{name: "./etc/.wh.passwd"}),
		one("X10", "opaque mark of an image layer", bad, tarEntry{name: "./etc/.wh..wh..opq"}),
	}
}

func linkCases() []Case {
	out := tarEntry{name: "./a", kind: '2', link: "../.."}
	return []Case{
		one("X2", "file through a link to the outside", bad, out, tarEntry{name: "./a/victim", body: "x"}),
		one("X2", "file through an absolute link", bad, tarEntry{name: "./a", kind: '2', link: "/tmp"}, tarEntry{name: "./a/victim", body: "x"}),
		one("X2", "directory through a link", bad, out, tarEntry{name: "./a/b/", kind: '5'}),
		one("X2", "file over a link", bad, tarEntry{name: "./a", kind: '2', link: "../victim"}, tarEntry{name: "./a", body: "x"}),
		one("X2", "link that leads out is fine by itself", "", out),
		one("X2", "usr-merge link to elsewhere", bad, tarEntry{name: "./lib", kind: '2', link: "/tmp"}),
		one("X2", "file by the name of a usr-merge link", bad, tarEntry{name: "./bin", body: "x"}),
		one("X3", "directory replaced by a link", bad, tarEntry{name: "./a/", kind: '5'}, out, tarEntry{name: "./a/victim", body: "x"}),
		one("X3", "implied directory replaced by a link", bad, tarEntry{name: "./a/b", body: "x"}, out),
		one("X4", "hard link to the outside", bad, tarEntry{name: "./a", kind: '1', link: "../victim"}),
		one("X4", "hard link to an absolute path", bad, tarEntry{name: "./a", kind: '1', link: "/etc/passwd"}),
		one("X4", "hard link to a symbolic link", bad, out, tarEntry{name: "./b", kind: '1', link: "./a"}),
		one("X4", "hard link to a later file", bad, tarEntry{name: "./b", kind: '1', link: "./a"}, tarEntry{name: "./a", body: "x"}),
		one("X4", "hard link to a directory", bad, tarEntry{name: "./a/", kind: '5'}, tarEntry{name: "./b", kind: '1', link: "./a"}),
		one("X4", "hard link with content", bad, tarEntry{name: "./a", body: "x"}, tarEntry{name: "./b", kind: '1', link: "./a", body: "y"}),
		one("X4", "hard link to an earlier file is fine", "", tarEntry{name: "./a", body: "x"}, tarEntry{name: "./b", kind: '1', link: "./a"}),
	}
}

func kindCases() []Case {
	return []Case{
		one("X5", "character device", bad, tarEntry{name: "./a", kind: '3'}),
		one("X5", "block device", bad, tarEntry{name: "./a", kind: '4'}),
		one("X5", "named pipe", bad, tarEntry{name: "./a", kind: '6'}),
		one("X5", "contiguous file", bad, tarEntry{name: "./a", kind: '7'}),
		one("X6", "setuid file loses the bit", "", tarEntry{name: "./a", body: "x", mode: 0o4755}),
		one("X6", "capability in an extended header", bad, pax('x', "SCHILY.xattr.security.capability=\x01")...),
		one("X6", "overlay attribute in an extended header", bad, pax('x', "SCHILY.xattr.trusted.overlay.opaque=y")...),
		one("X6", "mode in a global extended header", bad, pax('g', "mode=4755")...),
		one("X6", "owner beyond 31 bits", bad, tarEntry{name: "./a", edit: func(h []byte) { copy(h[108:116], "\x80\x00\x00\x00\xff\xff\xff\xff") }}),
		one("X7", "file twice", bad, tarEntry{name: "./a", body: "x"}, tarEntry{name: "./a", body: "y"}),
		one("X7", "file, then directory", bad, tarEntry{name: "./a", body: "x"}, tarEntry{name: "./a/", kind: '5'}),
		one("X7", "directory, then file", bad, tarEntry{name: "./a/", kind: '5'}, tarEntry{name: "./a", body: "x"}),
		one("X7", "one file by two names of the merged /usr", bad, tarEntry{name: "./bin/a", body: "x"}, tarEntry{name: "./usr/bin/a", body: "y"}),
		one("X9", "GNU sparse file", bad, tarEntry{name: "./a", kind: 'S'}),
		one("X9", "sparse map in an extended header", bad, pax('x', "GNU.sparse.major=1", "GNU.sparse.minor=0")...),
	}
}

func sizeCases() []Case {
	number := func(field string) func([]byte) { return func(h []byte) { copy(h[124:136], field) } }
	empty := gzipped(func(w io.Writer) {
		var b strings.Builder
		tarEntry{name: "./a/", kind: '5'}.write(&b)
		for range 400_001 {
			io.WriteString(w, b.String())
		}
	})
	flipped := tarOf(tarEntry{name: "./a", body: "x"})
	flipped[2] = 'b'
	return []Case{
		one("X8", "size in an extended header", bad, pax('x', "size=1")...),
		one("X8", "negative size", bad, tarEntry{name: "./a", edit: number("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe")}),
		one("X8", "size in base 256", bad, tarEntry{name: "./a", body: "x", edit: number("\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")}),
		one("X8", "size that is no number", bad, tarEntry{name: "./a", edit: number("0000000001x\x00")}),
		one("X8", "file longer than the tar", bad, tarEntry{name: "./a", body: "x", edit: number("00000077777\x00")}),
		one("X8", "file of 60 gigabytes", diag.TooLarge, tarEntry{name: "./a", body: "x", edit: number("700000000000")}),
		one("X8", "header without ustar's mark", bad, tarEntry{name: "./a", edit: func(h []byte) { h[257] = 'U' }}),
		file("X8", "header whose checksum is wrong", bad, arOf(debianBinary, controlTar("package1"), member{name: "data.tar", body: flipped})),
		one("X8", "long name of a megabyte", bad, tarEntry{name: "././@LongLink", kind: 'L', body: strings.Repeat("n", 1<<20)}, tarEntry{name: "./a"}),
		one("X8", "long name twice", bad, tarEntry{name: "././@LongLink", kind: 'L', body: "./a\x00"}, tarEntry{name: "././@LongLink", kind: 'L', body: "./b\x00"}, tarEntry{name: "./a"}),
		file("X8", "hundreds of thousands of entries", diag.TooLarge,
			arOf(debianBinary, controlTar("package1"), member{name: "data.tar.gz", body: empty})),
		file("X8", "control part that unpacks to 40 megabytes", diag.TooLarge,
			arOf(debianBinary, member{name: "control.tar.gz", body: gzipped(func(w io.Writer) {
				w.Write(tarOf(tarEntry{name: "./control", body: strings.Repeat("\n", 40<<20)}))
			})}, member{name: "data.tar", body: tarOf()})),
	}
}

func conflictCases() []Case {
	f, link := tarEntry{name: "./a", body: "x"}, tarEntry{name: "./a", kind: '2', link: "b"}
	dropped := two("X11", "two packages own one path, one replaces the other", "", f, f)
	dropped.drop = map[string][]string{"package1": {"/a"}}
	return []Case{
		two("X11", "two packages own one path", diag.FileConflict, f, f),
		two("X11", "one package's file, the other's link", diag.FileConflict, f, link),
		two("X11", "one package's file, the other's directory", diag.FileConflict, f, tarEntry{name: "./a/", kind: '5'}),
		two("X11", "one package's link, the other's file below it", diag.FileConflict, link, tarEntry{name: "./a/victim", body: "x"}),
		two("X11", "one path by two names of the merged /usr", diag.FileConflict, tarEntry{name: "./lib/a", body: "x"}, tarEntry{name: "./usr/lib/a", body: "x"}),
		two("X11", "two packages share a directory", "", tarEntry{name: "./a/", kind: '5'}, tarEntry{name: "./a/", kind: '5'}),
		dropped,
	}
}
