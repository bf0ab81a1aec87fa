"""HTTP around the API's resources: the gate, bodies, the envelope, failures, pages, the description."""
