template "base" {
  description = "For dynamically linked C programs: static plus glibc, OpenSSL, zlib and zstd."
  extends     = template.static

  packages {
    archives = [archive.debian, archive.debian-security]
    install  = ["libc6", "libssl3t64", "libzstd1", "zlib1g"]
    resolve  = true
    exclude = {
      libgcc-s1               = "No library here links against it; the cc image has it."
      openssl-provider-legacy = "Retired algorithms (RC4, MD4, DES) are not offered."
    }
    prune = ["docs", "info", "lintian", "locales", "man"]
  }
}
