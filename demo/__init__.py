"""What `make demo` runs: the main job, end to end, on loopback, in words."""
