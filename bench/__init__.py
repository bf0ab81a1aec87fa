"""The ruler: edge and connector against stock cloudflared on the same edge, and against nginx(TLS) → nginx."""
