template "cc" {
  description = "For C++, Rust and OpenMP programs: base plus the GCC runtime libraries."
  extends     = template.base

  packages {
    archives = [archive.debian, archive.debian-security]
    install  = ["libgcc-s1", "libgomp1", "libstdc++6"]
    resolve  = true
    prune    = ["docs", "info", "lintian", "locales", "man"]
  }
}
