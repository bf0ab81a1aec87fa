"""cases.md 31, 37, 40, 57, 59, 66: fields that survive, fields that must not, and their spelling."""

import h2.errors
import pytest

from tests.support.fixtures import every_connector
from tests.support.http1 import Fields, Http1Client
from tests.support.http2 import Reset
from tests.support.origin import Exchange, Origin
from tests.support.sites import Publisher, Site
from tests.support.websocket import REQUEST_FIELDS, echo

ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\n"
    b"X-E:\r\n"
    b"Set-Cookie: b=2\r\n"
    b"Vary: A\r\nVary: B\r\n"
    b"X-Lat: caf\xe9\r\n"
    b"Link: </a>\r\nLink: </b>\r\n"
    b"Content-Length: 2\r\n\r\nok"
)


@pytest.mark.case(37)
@every_connector
def test_repeated_and_empty_fields_survive(site: Site, version: str) -> None:
    site.origin.sends(ANSWER)
    answer = site.client(version).get("/", [("x-a", "1"), ("x-b", ""), ("x-a", "2")])
    assert answer.values("set-cookie") == ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]
    assert answer.values("x-e") == [""]
    assert answer.values("vary") == ["A", "B"]
    assert answer.values("x-lat") == ["caf\xe9"]
    assert answer.values("link") == ["</a>", "</b>"]
    assert site.origin.last.values("x-a") == ["1", "2"]
    assert site.origin.last.values("x-b") == [""]


@pytest.mark.case(37)
@every_connector
def test_cookie_crumbs_become_one_field(site: Site) -> None:
    assert site.h2().get("/", [("cookie", "a=1"), ("cookie", "b=2")]).status == 200
    assert site.origin.last.values("cookie") == ["a=1; b=2"]


FORGED = [
    ("X-Forwarded-For", "10.0.0.1, junk"),
    ("CF-Connecting-IP", "10.0.0.1"),
    ("cf-connecting-ip", "10.0.0.2"),
    ("True-Client-IP", "10.0.0.1"),
    ("X-Real-IP", "10.0.0.1"),
    ("Forwarded", "for=10.0.0.1"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.example"),
]


@pytest.mark.case(40)
@every_connector
def test_forwarding_fields_are_the_edges_own(site: Site, version: str) -> None:
    fields = FORGED if version == "h1" else [(name.lower(), text) for name, text in FORGED]
    assert site.client(version).get("/echo", fields).status == 200
    request = site.origin.last
    assert request.values("cf-connecting-ip") == ["127.0.0.1"]
    assert request.values("x-forwarded-for") == ["127.0.0.1"]
    assert request.values("x-forwarded-proto") == ["https"]
    assert b"10.0.0." not in request.raw_head
    assert b"evil.example" not in request.raw_head
    assert b"gopher" not in request.raw_head


HOP = [
    ("Connection", "close, X-Forwarded-For, CF-Connecting-IP, Cookie, X-A"),
    ("X-A", "1"),
    ("Keep-Alive", "5"),
    ("Proxy-Connection", "x"),
    ("TE", "trailers, gzip"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABk"),
    ("Proxy-Authorization", "b"),
    ("Cookie", "c=1"),
]


@pytest.mark.case(57)
@every_connector
def test_hop_by_hop_fields_end_at_the_edge(site: Site) -> None:
    assert site.h1().get("/", HOP).status == 200
    request = site.origin.last
    gone = {"x-a", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy-authorization"}
    assert gone & set(request.names) == set()
    assert request.values("cf-connecting-ip") == ["127.0.0.1"]
    assert request.values("x-forwarded-for") == ["127.0.0.1"]
    assert request.value("cookie") == "c=1", "an end-to-end field stays, whatever Connection says"
    assert request.value("te") == "trailers"


@pytest.mark.case(57)
@every_connector
def test_hop_by_hop_fields_of_the_origin_end_at_the_edge(site: Site, version: str) -> None:
    fields = [
        ("Connection", "keep-alive, X-Internal, HTTP2-Settings, CF-Ray, Set-Cookie"),
        ("X-Internal", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Connection", "x"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABk"),
        ("Set-Cookie", "c=1"),
        ("X-Kept", "1"),
    ]
    site.origin.answers(200, b"", fields)
    answer = site.client(version).get()
    names = {name.lower() for name, _ in answer.fields}
    gone = {"x-internal", "proxy-authenticate", "proxy-connection", "te", "upgrade", "http2-settings"}
    assert gone & names == set()
    assert (len(answer.values("cf-ray")), answer.value("set-cookie")) == (1, "c=1")
    assert "timeout=5" not in (answer.value("keep-alive") or "")
    assert answer.value("x-kept") == "1"
    if version == "h2":
        assert {"connection", "keep-alive"} & names == set()


@pytest.mark.case(57)
@pytest.mark.parametrize(
    "field",
    [
        ("connection", "close"),
        ("keep-alive", "5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ],
)
def test_connection_fields_are_malformed_in_http2(site: Site, field: tuple[str, str]) -> None:
    client = site.h2(strict=False)
    number = client.start("GET", "/", [field])
    with pytest.raises(Reset) as reset:
        client.answer(number)
    assert reset.value.code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert site.origin.requests == []


@pytest.mark.case(59)
@every_connector
def test_registered_spelling_at_the_origin(site: Site, version: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.accept_websocket()

    site.origin.script = script
    client = site.client(version)
    if isinstance(client, Http1Client):
        client.start("GET", "/ws", [*REQUEST_FIELDS, ("Sec-WebSocket-Protocol", "a, b")])
        client.head()
    else:
        client.head(client.websocket("/ws", [("sec-websocket-protocol", "a, b")]))
    names = {name for name, _ in site.origin.last.fields}
    spelled = {"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"}
    if site.link.kind == "cloudflared":
        spelled = {name.replace("WebSocket", "Websocket") for name in spelled}
    assert spelled <= names


@pytest.mark.case(59)
@every_connector
def test_no_field_has_two_spellings(site: Site, version: str) -> None:
    """As sent over QUIC between our own ends, canonical otherwise; a stock connector's own spelling is that of Go."""
    fields: Fields = [("X-CUSTOM-id", "1"), ("etag", "x"), ("DNT", "1"), ("x-repeated", "1"), ("x-repeated", "2")]
    if version == "h2":
        fields = [(name.lower(), text) for name, text in fields]
    assert site.client(version).get("/", fields).status == 200
    names = [name for name, _ in site.origin.last.fields]
    wanted = ["X-Custom-Id", "ETag", "DNT", "X-Repeated", "X-Repeated"]
    if site.link.kind == "cloudflared":
        wanted[1:3] = ["Etag", "Dnt"]
    elif version == "h1" and site.link.protocol == "quic":
        wanted[0] = "X-CUSTOM-id"
    sent = {name.lower() for name, _ in fields}
    assert sorted(name for name in names if name.lower() in sent) == sorted(wanted)
    assert len({*names}) == len({name.lower() for name in names})


@pytest.mark.case(59)
@every_connector
def test_names_of_the_origin_keep_their_spelling(site: Site) -> None:
    site.origin.answers(200, b"", [("WWW-Authenticate", "Basic"), ("X-CUSTOM-id", "1"), ("ETag", '"x"')])
    own = "X-CUSTOM-id" if site.link.kind == "qanat" else "X-Custom-Id"
    assert {"WWW-Authenticate", own, "ETag"} <= {name for name, _ in site.get().fields}


DANGEROUS = [
    ("content-length", "3"),
    ("host", "evil.example"),
    ("transfer-encoding", "chunked"),
    ("x-forwarded-for", "10.0.0.1"),
    ("cf-connecting-ip", "10.0.0.1"),
    ("cf-cloudflared-proxy-src", "x"),
    ("authorization", "Basic eDp5"),
]


@pytest.mark.case(66)
@every_connector
@pytest.mark.parametrize("declared", [True, False])
def test_trailers_never_become_fields(site: Site, version: str, declared: bool) -> None:
    """In HTTP/2 a Transfer-Encoding is malformed wherever it stands: that is the next test's."""
    client = site.client(version)
    kept = DANGEROUS if version == "h1" else [each for each in DANGEROUS if each[0] != "transfer-encoding"]
    trailers = [("x-sum", "1"), *kept]
    if isinstance(client, Http1Client):
        announce = [("Trailer", "x-sum")] if declared else []
        client.start("POST", "/", [("Transfer-Encoding", "chunked"), *announce])
        client.send_chunk(b"body")
        client.end_chunks(trailers)
        answer = client.answer("POST")
    else:
        client = site.h2(strict=False)
        number = client.start("POST", "/", [("trailer", "x-sum")] if declared else [], end=False)
        client.data(number, b"body")
        client.trailers(number, trailers)
        answer = client.answer(number)
    assert answer.status == 200
    request = site.origin.last
    assert request.body == b"body"
    assert request.values("x-forwarded-for") == ["127.0.0.1"]
    assert request.values("cf-connecting-ip") == ["127.0.0.1"]
    assert request.values("host") == [site.hostname]
    late = [(name.lower(), text) for name, text in request.trailers]
    carried = site.link.kind == "qanat" or (site.link.protocol == "http2" and declared)
    assert late == ([("x-sum", "1")] if carried else [])
    assert b"evil.example" not in site.origin.raw
    assert b"10.0.0.1" not in site.origin.raw
    assert client.get("/next").status == 200, "the connection stays usable"


@pytest.mark.case(66)
@every_connector
def test_a_coding_in_a_trailer_of_http2_ends_its_stream_alone(site: Site) -> None:
    client = site.h2(strict=False)
    number = client.start("POST", "/", end=False)
    client.data(number, b"body")
    client.trailers(number, [("transfer-encoding", "chunked")])
    with pytest.raises(Reset) as reset:
        client.answer(number)
    assert reset.value.code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert client.get("/next").status == 200, "the connection stays usable"
    assert not any(request.body_whole for request in site.origin.requests if request.method == "POST")
    site.origin.problems.clear()


@pytest.mark.case(66)
@every_connector
def test_response_trailers_leave_the_body_whole(site: Site, version: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "x-sum")])
        exchange.chunk(b"body")
        exchange.last_chunk([("x-sum", "1"), ("content-length", "3"), ("set-cookie", "late=1")])

    site.origin.script = script
    client = site.client(version)
    answer = client.get()
    assert answer.body == b"body"
    assert {name.lower() for name, _ in answer.trailers} <= {"x-sum"}
    site.origin.answers(200, b"next")
    assert client.get().body == b"next"


@pytest.mark.case(66)
def test_http10_client_gets_no_trailers(site: Site) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "x-sum")])
        exchange.chunk(b"body")
        exchange.last_chunk([("x-sum", "1")])

    site.origin.script = script
    client = site.h1()
    client.send(f"GET / HTTP/1.0\r\nHost: {site.hostname}\r\n\r\n".encode())
    assert client.rest().endswith(b"\r\n\r\nbody")


def echo_of_either_kind(exchange: Exchange) -> None:
    if exchange.request.value("upgrade"):
        echo(exchange)
    else:
        exchange.answer()


@pytest.mark.case(31)
@every_connector
def test_host_is_the_public_one_unless_the_rule_names_another_also_for_websockets(publish: Publisher) -> None:
    origin = Origin(script=echo_of_either_kind)
    plain, other, any_other = (publish.hostname() for _ in range(3))
    site = publish.rules(
        [
            {"hostname": plain, "service": origin.service},
            {"hostname": other, "service": origin.service, "originRequest": {"httpHostHeader": "internal.local"}},
            {"hostname": f"*.{publish.tunnelled.domain}", "service": origin.service},
        ],
        origin=origin,
    )
    for hostname, host, forwarded in (
        (plain, plain, None),
        (other, "internal.local", other),
        (any_other, any_other, None),
    ):
        for upgrade in (False, True):
            with site.edge.h1(hostname) as client:
                client.start("GET", "/ws", [*(REQUEST_FIELDS if upgrade else []), ("X-Forwarded-Host", "evil")])
                assert client.head().status == (101 if upgrade else 200)
                seen = origin.last
                told = (seen.values("host"), seen.values("x-forwarded-host"), seen.values("x-forwarded-proto"))
                assert told == ([host], [forwarded] if forwarded else [], ["https"]), (hostname, upgrade)
                assert seen.values("x-forwarded-for") == ["127.0.0.1"]
