"""Who may ask: API tokens, what they may touch, and what bounds them."""

from qanat.auth.guesses import Guesses
from qanat.auth.tokens import issue
from qanat.auth.verifier import Verifier

__all__ = ["Guesses", "Verifier", "issue"]
