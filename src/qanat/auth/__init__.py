"""Who may ask: API tokens and what they see."""

from qanat.auth.tokens import Principal, issue, verify

__all__ = ["Principal", "issue", "verify"]
