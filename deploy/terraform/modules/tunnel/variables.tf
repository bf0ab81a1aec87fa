variable "account_id" {
  type        = string
  description = "The account that owns the tunnel and the zone."

  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.account_id))
    error_message = "An account's id is 32 hexadecimal digits (qanat account list)."
  }
}

variable "zone_id" {
  type        = string
  description = "The zone that the hostnames are in."
}

variable "name" {
  type        = string
  description = "The tunnel's name, unique in its account."
}

variable "ingress" {
  type = list(object({
    hostname = string
    path     = optional(string)
    service  = string
    origin_request = optional(object({
      access = optional(object({
        required  = optional(bool)
        team_name = string
        aud_tag   = list(string)
      }))
      ca_pool                  = optional(string)
      connect_timeout          = optional(number)
      disable_chunked_encoding = optional(bool)
      http2_origin             = optional(bool)
      http_host_header         = optional(string)
      keep_alive_connections   = optional(number)
      keep_alive_timeout       = optional(number)
      match_sn_ito_host        = optional(bool)
      no_happy_eyeballs        = optional(bool)
      no_tls_verify            = optional(bool)
      origin_server_name       = optional(string)
      proxy_type               = optional(string)
      tcp_keep_alive           = optional(number)
      tls_timeout              = optional(number)
    }))
  }))
  description = "The rules in order, first match wins; the rule for everything else is `catch_all`."

  validation {
    condition     = length(var.ingress) > 0
    error_message = "A tunnel without a rule serves nothing: give at least one."
  }
  validation {
    condition     = alltrue([for rule in var.ingress : rule.hostname == lower(rule.hostname) && !startswith(rule.hostname, ".")])
    error_message = "Hostnames are written whole and in lower case, such as app.example.com."
  }
}

variable "catch_all" {
  type        = string
  default     = "http_status:404"
  description = "The service of the last rule, which matches whatever no other does."
}

variable "activate_dns" {
  type        = bool
  description = <<-TEXT
    true: the hostnames lead to this tunnel. false: they don't. They have no record then, or, with `takes_over_from`, they lead to that
    tunnel.
  TEXT
}

variable "takes_over_from" {
  type        = string
  default     = null
  description = <<-TEXT
    The id of the tunnel that the hostnames lead to before this one takes over and after it gave back. Their records exist already, made by
    that tunnel's own root, and are imported by this one (see second-site): a move is a change in place, never a deletion. null: the
    records are this tunnel's own.
  TEXT

  validation {
    condition     = var.takes_over_from == null || can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.takes_over_from))
    error_message = "This is a tunnel's id, a UUID in lower case (tofu -chdir=../production output -raw tunnel_id)."
  }
}
