variable "token" {
  type        = string
  description = "The connector's token: the tunnel's, or a named one that is this host's alone (qanat tunnel connector-token create)."
  sensitive   = true

  validation {
    condition     = can(jsondecode(base64decode(var.token)).t)
    error_message = "This is no connector token."
  }
}

variable "edge" {
  type        = string
  default     = null
  description = "The edge, host:port. null: Cloudflare's."

  validation {
    condition     = var.edge == null || can(regex("^[0-9A-Za-z.:\\[\\]-]+:[0-9]+$", var.edge))
    error_message = "Write host:port, such as edge.example.net:7844."
  }
}

variable "ca_pem" {
  type        = string
  default     = null
  description = "The edge's CA, where no public one signed its certificate: file(\"ca.pem\")."
}

variable "package" {
  type = object({
    url    = string
    sha256 = string
  })
  default     = null
  description = "Where the host gets the .deb, and its hash. null: its image has it."

  validation {
    condition     = var.package == null || can(regex("^https?://[0-9A-Za-z.\\[\\]:-]+/[!-~]*$", var.package.url))
    error_message = "Write https://host/path/qanat-linux-amd64.deb."
  }
  validation {
    condition     = var.package == null || can(regex("^[0-9a-f]{64}$", var.package.sha256))
    error_message = "What is downloaded is checked by its hash: 64 hexadecimal digits (sha256sum FILE)."
  }
}

variable "flags" {
  type        = list(string)
  default     = []
  description = "Further flags of `qanat tunnel run`, such as [\"--protocol\", \"http2\"]."

  validation {
    condition     = alltrue([for flag in var.flags : can(regex("^[ -~]*$", flag))])
    error_message = "Flags are printable ASCII."
  }
}

variable "lockdown" {
  type        = bool
  default     = true
  description = "Close the host's ports 80 and 443 to the public."
}

variable "keep_interfaces" {
  type        = list(string)
  default     = []
  description = "Interfaces that the lockdown leaves open beside loopback. []: what `qanat lockdown` keeps by itself (tailscale0)."

  validation {
    condition     = alltrue([for name in var.keep_interfaces : can(regex("^[0-9A-Za-z_.-]{1,15}$", name))])
    error_message = "An interface's name is at most 15 letters, digits, dots, dashes and underscores."
  }
}
