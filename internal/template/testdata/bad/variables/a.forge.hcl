variable "suite" {
  type      = strin
  default   = "trixie"
  sensitive = true
}

variable "suite" {}

variable "required" {
  type = number
}

variable "port" {
  type    = number
  default = "many"
}

variable "mode" {
  type    = string
  default = "fast"
  validation {
    condition     = contains(["slow", "steady"], var.mode)
    error_message = "The mode must be slow or steady."
  }
  validation {
    condition = "yes please"
  }
}

locals {
  a = local.b
  b = local.c
  c = local.a
  d = local.dd
}

locals {
  d = 1
}

locals "named" {
}
