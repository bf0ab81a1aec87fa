"""No public way to a host's web ports: what came in by them comes through the tunnel now."""
