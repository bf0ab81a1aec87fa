"""What the query parameters of lists mean. A filter never widens its list: an empty one matches nothing (a script whose variable
is empty would take the first row of everything), and a value that has no meaning is refused."""

from collections.abc import Collection

from starlette.datastructures import QueryParams

from qanat.errors import QanatError

TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def truth(query: QueryParams, name: str) -> bool | None:
    """A yes or no; None where it isn't asked. QanatError `filter_bad_value`."""
    text = query.get(name)
    return parse_truth(text, where=name) if text is not None else None


def parse_truth(text: str, *, where: str) -> bool:
    """QanatError `filter_bad_value`."""
    try:
        return TRUTHS[text.lower()]
    except KeyError:
        raise QanatError(
            "filter_bad_value", f"{text[:40]!a} is not a valid choice: true or false", where=where
        ) from None


def choice(query: QueryParams, name: str, among: Collection[str]) -> str | None:
    """One of several words; None where it isn't asked. QanatError `filter_bad_value`."""
    text = query.get(name)
    if text is not None and text not in among:
        raise QanatError("filter_bad_value", f"{text[:40]!a} is not a valid choice: {', '.join(among)}", where=name)
    return text


def words(query: QueryParams, name: str) -> str | None:
    """A text to look for, empty ones too; None where it isn't asked."""
    text = query.get(name)
    return storable(text) if text is not None else None


def storable(text: str) -> str:
    """No row has a NUL, and PostgreSQL takes none; a text that no row has takes its place."""
    return text.replace("\x00", "\x01")
