"""Who asks: credentials → `Principal`. What a principal may do is control's."""

from qanat.auth.guesses import Guesses
from qanat.auth.tokens import issue
from qanat.auth.verifier import Verifier

__all__ = ["Guesses", "Verifier", "issue"]
