"""The `path` of a rule: a Go (RE2) regular expression, matched unanchored on the decoded path."""

from qanat.errors import QanatError
from qanat.ingress.engine import check_pattern

LONGEST = 4096
"""Characters of a pattern, more than any hand writes."""


def parse_pattern(text: str, *, where: str = "path") -> str:
    """The pattern itself, once it is known to compile in linear time.

    Raises:
        QanatError: `ingress_bad_path`, with the engine's reason.
    """
    if len(text) > LONGEST:
        raise QanatError("ingress_bad_path", f"the pattern is longer than {LONGEST} characters", where=where)
    reason = check_pattern(text)
    if reason is not None:
        glob = "this is a regular expression: write .* where a shell has *" if text.startswith(("*", "/*")) else None
        raise QanatError("ingress_bad_path", f"'{text[:80]}' doesn't compile: {reason}", where=where, hint=glob)
    return text


def is_unanchored(pattern: str) -> bool:
    """Whether it likely means a prefix and matches anywhere: `/aaa` also takes `/bbb/aaa/ccc` (case 14).

    A pattern bound to an end (`\\.jpg$`) or that begins with `.*` says so itself.
    """
    bare = pattern
    if bare.startswith("(?") and ")" in bare and bare[2:3] in "imsUx":
        bare = bare[bare.index(")") + 1 :]
    bare = bare.lstrip("(")
    if bare.startswith(("^", "\\A", ".*")):
        return False
    return bare.startswith("/") or not bare.rstrip(")").endswith(("$", "\\z"))
