terraform {
  required_version = ">= 1.7"

  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = ">= 5.10, < 6"
    }
  }

  # Each of these folders has a state of its own. It has the tunnel's token in it: keep it where secrets may be.
  # backend "s3" { … }
}

# CLOUDFLARE_API_TOKEN, and CLOUDFLARE_BASE_URL for a control plane of your own (https://control.example.net/client/v4)
provider "cloudflare" {}
