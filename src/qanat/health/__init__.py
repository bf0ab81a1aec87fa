"""Whether origins answer: probes through each node's connections, what the engine counts of real requests, and the verdict that
both lead to. It works on a running edge, and knows no HTTP API."""
