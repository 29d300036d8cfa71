template "hello" {
  description = "Says hello."
  extends     = template.base

  packages {
    archives = [archive.test]
    install  = ["hello"]
    resolve  = true
  }

  config {
    entrypoint = ["/usr/bin/hello"]
  }
}
