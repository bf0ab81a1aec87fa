"""Signing in by an OpenID provider (OpenID Connect Core 1.0, code flow with PKCE): `fetching` asks it, `provider` believes no
more than it proves, `identities` finds the user."""
