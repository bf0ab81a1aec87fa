locals {
  hostnames = toset([for rule in var.ingress : rule.hostname])
  own       = "${cloudflare_zero_trust_tunnel_cloudflared.this.id}.cfargotunnel.com"
  takes     = var.takes_over_from != null
}

resource "cloudflare_zero_trust_tunnel_cloudflared" "this" {
  account_id = var.account_id
  name       = var.name
  config_src = "cloudflare" # the rules below are pushed to its connectors
}

resource "cloudflare_zero_trust_tunnel_cloudflared_config" "this" {
  account_id = var.account_id
  tunnel_id  = cloudflare_zero_trust_tunnel_cloudflared.this.id

  config = {
    ingress = concat(
      [for rule in var.ingress : {
        hostname       = rule.hostname
        path           = rule.path
        service        = rule.service
        origin_request = rule.origin_request
      }],
      [{ hostname = null, path = null, service = var.catch_all, origin_request = null }],
    )
  }
}

# This tunnel's own records. Where they lead is decided by cutovers from then on (second-site's apply, `qanat cutover`): a plan of this root
# must not move the hostnames back.
resource "cloudflare_dns_record" "public" {
  for_each = var.activate_dns && !local.takes ? local.hostnames : toset([])

  zone_id = var.zone_id
  name    = each.key
  type    = "CNAME"
  content = local.own
  proxied = true
  ttl     = 1

  lifecycle {
    ignore_changes = [content]
  }

  # never before there is a rule to answer them
  depends_on = [cloudflare_zero_trust_tunnel_cloudflared_config.this]
}

# Records of another root, which it made and would delete; what is decided here is where they lead.
resource "cloudflare_dns_record" "moving" {
  for_each = local.takes ? local.hostnames : toset([])

  zone_id = var.zone_id
  name    = each.key
  type    = "CNAME"
  content = var.activate_dns ? local.own : "${var.takes_over_from}.cfargotunnel.com"
  proxied = true
  ttl     = 1

  lifecycle {
    ignore_changes  = [comment, tags, settings]
    prevent_destroy = true # the hostnames serve; README.md says how a second site is removed
  }

  depends_on = [cloudflare_zero_trust_tunnel_cloudflared_config.this]
}

data "cloudflare_zero_trust_tunnel_cloudflared_token" "this" {
  account_id = var.account_id
  tunnel_id  = cloudflare_zero_trust_tunnel_cloudflared.this.id
}
