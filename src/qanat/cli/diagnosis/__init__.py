"""What `tunnel diag` collects of a connector on this host, ours or a stock one, each in a file of its own."""
