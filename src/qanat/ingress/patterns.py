"""The `path` of a rule: a Go (RE2) regular expression, matched unanchored on the decoded path."""

from collections.abc import Sequence

from qanat.errors import QanatError
from qanat.ingress.engine import check_patterns

LONGEST = 4096
"""Characters of a pattern, more than any hand writes."""


def check_paths(paths: Sequence[str]) -> None:
    """That each path of a configuration, in the order of its rules ("" for none), compiles in linear time, and all of them
    within what one configuration may take (`check_patterns` in the engine's stub says how much).

    Raises:
        QanatError: `ingress_bad_path`, `ingress_patterns_too_large`; where: `ingress[N].path`, with the engine's reason.
    """
    for index, path in enumerate(paths):
        if len(path) > LONGEST:
            where = f"ingress[{index}].path"
            raise QanatError("ingress_bad_path", f"the pattern is longer than {LONGEST} characters", where=where)
    found = check_patterns(paths)
    if found is not None:
        index, code, reason = found
        raise refused_path(index, code, reason, paths[index])


def refused_path(index: int, code: str, reason: str, path: str) -> QanatError:
    """The engine's refusal of a path: its message begins with the place."""
    where = f"ingress[{index}].path"
    reason = reason.removeprefix(f"{where}: ")
    if code == "patterns_too_large":
        hint = "use fewer or shorter repeated classes, such as [^/]+ for \\pL{1,40}"
        return QanatError("ingress_patterns_too_large", reason, where=where, hint=hint)
    glob = "this is a regular expression: write .* where a shell has *" if path.startswith(("*", "/*")) else None
    return QanatError("ingress_bad_path", f"'{path[:80]}' doesn't compile: {reason}", where=where, hint=glob)


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
