output "tunnel_id" {
  value       = cloudflare_zero_trust_tunnel_cloudflared.this.id
  description = "What `takes_over_from` of another site wants."
}

output "tunnel_token" {
  value       = data.cloudflare_zero_trust_tunnel_cloudflared_token.this.token
  description = "The token of the tunnel's connectors (TUNNEL_TOKEN, --token-file)."
  sensitive   = true
}

output "target" {
  value       = local.own
  description = "What a proxied CNAME to this tunnel has as its content."
}
