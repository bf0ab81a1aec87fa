output "tunnel_id" {
  value = module.tunnel.tunnel_id
}

output "tunnel_token" {
  value     = module.tunnel.tunnel_token
  sensitive = true
}

output "user_data" {
  value       = module.host.user_data
  description = "User data of a new host (cloud-init)."
  sensitive   = true
}
