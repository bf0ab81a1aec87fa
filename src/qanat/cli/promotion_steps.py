"""The commands of a promotion (`--before`, `--after`): they run on the machine where `qanat node promote` does, without
a shell."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from qanat.cli.output import note
from qanat.client import Promotion
from qanat.errors import QanatError

Steps = Mapping[str, Sequence[Sequence[str]]]


def commands(texts: Sequence[str] | None, flag: str) -> list[list[str]]:
    """Each split into words. QanatError `usage`: one that can't be, or is empty."""
    found = []
    for text in texts or ():
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise QanatError("usage", f"the command can't be read: {error}", where=flag) from None
        if not words:
            raise QanatError("usage", "the command is empty", where=flag)
        found.append(words)
    return found


def run(steps: Sequence[Sequence[str]], promotion: Promotion, *, within_s: float) -> str:
    """One after the other, until one fails; why, or "" when none did. What they print goes to standard error."""
    environment = {
        **os.environ,
        "QANAT_PROMOTION": promotion.id,
        "QANAT_FROM_NODE": promotion.from_node or "",
        "QANAT_TO_NODE": promotion.to_node,
        "QANAT_EPOCH": "" if promotion.epoch is None else str(promotion.epoch),
    }
    for words in steps:
        note(f"{promotion.state}: {shlex.join(words)}")
        try:
            done = subprocess.run(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=2, timeout=max(within_s, 0.1), check=False
            )
        except subprocess.TimeoutExpired:
            return f"{words[0]} took longer than requests are held"
        except OSError as error:
            return f"{words[0]} can't be run: {error.strerror}"
        if done.returncode:
            return f"{words[0]} ended with {done.returncode}"
    return ""
