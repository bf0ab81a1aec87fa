"""A running process starts its program anew, and is replaced by it: what connectors and edges share of that."""
