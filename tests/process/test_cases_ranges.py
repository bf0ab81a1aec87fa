"""cases.md 41: ranges, their validators and content codings are between client and origin; nobody between touches them."""

import os
import re

import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Fields
from tests.support.origin import Exchange
from tests.support.sites import Site

pytestmark = [pytest.mark.case(41), every_connector]
SIZE = 10 << 20
FILE = os.urandom(1 << 20) * (SIZE >> 20)
ETAG = '"v1"'
PART = "--SEP\r\nContent-Range: bytes {}-{}/{}\r\n\r\n"


def of_ranges(exchange: Exchange) -> None:
    """A file as web servers serve it."""
    request = exchange.request
    always = [("ETag", ETAG), ("Accept-Ranges", "bytes"), ("Content-Type", "text/plain")]
    asked = request.value("range") if request.value("if-range") in (None, ETAG) else None
    if asked is None:
        exchange.answer(200, FILE, always)
        return
    ranges = [(int(first) if first else SIZE - int(last), int(last) if first and last else SIZE - 1)
              for first, last in re.findall(r"([0-9]*)-([0-9]*)", asked)]  # fmt: skip
    if ranges[0][0] >= SIZE:
        exchange.answer(416, b"", [*always, ("Content-Range", f"bytes */{SIZE}")])
    elif len(ranges) == 1:
        ((first, last),) = ranges
        exchange.answer(206, FILE[first : last + 1], [*always, ("Content-Range", f"bytes {first}-{last}/{SIZE}")])
    else:
        exchange.answer(206, in_parts(ranges), [*always[:2], ("Content-Type", "multipart/byteranges; boundary=SEP")])


def in_parts(ranges: list[tuple[int, int]]) -> bytes:
    parts = [PART.format(first, last, SIZE).encode() + FILE[first : last + 1] + b"\r\n" for first, last in ranges]
    return b"".join(parts) + b"--SEP--\r\n"


@pytest.mark.parametrize("coding", [None, "gzip, br"])
@pytest.mark.parametrize(
    ("fields", "status", "content_range", "body"),
    [
        ([("range", "bytes=100-199")], 206, f"bytes 100-199/{SIZE}", FILE[100:200]),
        ([("range", "bytes=-5")], 206, f"bytes {SIZE - 5}-{SIZE - 1}/{SIZE}", FILE[-5:]),
        ([("range", "bytes=0-0,10-19")], 206, None, in_parts([(0, 0), (10, 19)])),
        ([("range", "bytes=99999999-")], 416, f"bytes */{SIZE}", b""),
        ([("range", "bytes=0-9"), ("if-range", ETAG)], 206, f"bytes 0-9/{SIZE}", FILE[:10]),
        ([("range", "bytes=0-9"), ("if-range", '"v0"')], 200, None, FILE),
    ],
    ids=["some", "the last five", "two", "beyond", "the right validator", "a stale one"],
)
def test_a_range_is_answered_as_the_origin_does(
    site: Site, version: str, coding: str | None, fields: Fields, status: int, content_range: str | None, body: bytes
) -> None:
    site.origin.script = of_ranges
    answer = site.client(version).get("/file", [*fields, *([("accept-encoding", coding)] if coding else [])])
    assert (answer.status, answer.values("content-range")) == (status, [content_range] if content_range else [])
    assert answer.body == body
    assert answer.value("content-length") == str(len(body))
    assert (answer.value("etag"), answer.value("content-encoding")) == (ETAG, None)
    seen = site.origin.last
    asked = dict(fields)
    assert (seen.value("range"), seen.value("if-range")) == (asked["range"], asked.get("if-range"))
    if coding or site.link.kind == "qanat":  # a stock connector asks for gzip where nobody asks for anything
        assert seen.value("accept-encoding") == coding


def test_head_of_a_range_has_its_length_and_no_body(site: Site, version: str) -> None:
    site.origin.script = of_ranges
    answer = site.client(version).request("HEAD", "/file", [("range", "bytes=100-199")])
    assert (answer.status, answer.value("content-length"), answer.body) == (206, "100", b"")
    assert answer.value("content-range") == f"bytes 100-199/{SIZE}"
