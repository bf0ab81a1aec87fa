"""What system tests stand on: the two processes, clients, origins and independent peers of the tunnel protocol."""
