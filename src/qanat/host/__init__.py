"""The host a connector runs on: its service, its firewall, its first boot, and what may be wrong with it."""
