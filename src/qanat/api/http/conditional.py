"""`ETag` and `If-Match` (RFC 9110): a client says which version its change was made for. Without it, as stock."""

import re
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Response

from qanat.errors import QanatError
from qanat.store.versions import Expected

Answer = TypeVar("Answer", bound=Response)
TAG = re.compile(r'\s*(?P<weak>W/)?"(?P<version>[\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')
MAX_TAGS = 100


def versioned(answer: Answer, version: str) -> Answer:
    """The answer with its version, which a later `If-Match` can name."""
    answer.headers["etag"] = f'"{version}"'
    return answer


def parse_if_match(header: str | None) -> Expected | None:
    """None: nothing is asked, or `*`, whatever is there (an object that is gone is a 404 anyway).

    Raises:
        QanatError: `version_malformed`.
    """
    if header is None or header.strip() == "*":
        return None
    versions: list[str] = []
    at = 0
    while at < len(header) and len(versions) < MAX_TAGS:
        match = TAG.match(header, at)
        if match is None:
            break
        if match["weak"] is None:  # a weak one never matches
            versions.append(match["version"])
        at = match.end()
    if at < len(header) or not header.strip():
        raise QanatError("version_malformed", 'If-Match is `*` or versions in quotes, such as "3"', where="If-Match")
    return Expected(frozenset(versions))


async def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            description="The version, as `ETag` told it, that the change was made for: another one now is refused (412). "
            "When absent, the change is made whatever the version."
        ),
    ] = None,
) -> Expected | None:
    return parse_if_match(if_match)


IfMatch = Annotated[Expected | None, Depends(_if_match)]
