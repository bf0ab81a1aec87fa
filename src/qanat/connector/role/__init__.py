"""Whether this host may be the active one of its tunnel (`--role-probe`): asked again and again, and told to the edge, which
never promotes a host that says `standby`. Nothing of it is loaded without that flag."""
