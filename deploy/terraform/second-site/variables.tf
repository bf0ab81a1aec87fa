variable "account_id" {
  type        = string
  description = "The account that owns the tunnel and the zone."
}

variable "zone" {
  type        = string
  description = "The zone's name, such as example.com."
}

variable "ingress" {
  type        = any
  description = "The tunnel's rules, as module tunnel has them; every hostname is in the zone."
}

variable "edge" {
  type        = string
  default     = null
  description = "The edge that the hosts connect to, host:port. null: Cloudflare's."
}

variable "ca_file" {
  type        = string
  default     = null
  description = "The edge's CA, a PEM file, where no public one signed its certificate."
}

variable "package" {
  type        = object({ url = string, sha256 = string })
  default     = null
  description = "Where new hosts get qanat's .deb, and its hash. null: their image has it."
}

variable "activate_dns" {
  type        = bool
  default     = false
  description = "true: the hostnames lead here. false again is the rollback."
}

variable "takes_over_from" {
  type        = string
  description = "The id of production's tunnel: tofu -chdir=../production output -raw tunnel_id"
}

variable "connector_tokens" {
  type        = map(string)
  default     = {}
  description = "Host to its own token (qanat tunnel connector-token create), for tunnels with several hosts; the API of Cloudflare has none."
  sensitive   = true
}
