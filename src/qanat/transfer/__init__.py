"""Whole accounts as documents: `document` (their form), `sealed` (secrets under a passphrase), `reading`, `writing`."""
