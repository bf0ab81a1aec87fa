import pytest

from qanat.errors import QanatError
from qanat.ingress.services import parse_service


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("http://127.0.0.1:8080", "http", "http://127.0.0.1:8080"),
        ("http://localhost", "http", "http://localhost:80"),
        ("http://localhost:", "http", "http://localhost:80"),
        ("https://app", "http", "https://app:443"),
        ("ws://127.0.0.1:5000", "http", "http://127.0.0.1:5000"),
        ("wss://app.internal", "http", "https://app.internal:443"),
        ("HTTP://Host:1", "http", "http://host:1"),
        ("https://[::1]:8443", "http", "https://[::1]:8443"),
        ("http://my_service:3000", "http", "http://my_service:3000"),
        ("http://bücher.example", "http", "http://xn--bcher-kva.example:80"),
        ("unix:/run/app.sock", "unix", "/run/app.sock"),
        ("unix:/run/a path.sock", "unix", "/run/a path.sock"),
        ("unix+tls:/run/tls.sock", "unix+tls", "/run/tls.sock"),
        ("http_status:404", "status", "404"),
        ("http_status:999", "status", "999"),
        ("hello_world", "hello_world", ""),
        ("hello-world", "hello_world", ""),
        ("tcp://db:5432", "tcp", "db:5432"),
        ("ldap://[::1]:389", "tcp", "[::1]:389"),
        ("bastion", "bastion", ""),
        ("socks-proxy", "socks-proxy", ""),
    ],
)
def test_a_service_is_read(text: str, kind: str, target: str) -> None:
    service = parse_service(text)
    assert (service.kind, service.target, service.text) == (kind, target, text)


@pytest.mark.parametrize(
    ("text", "shown", "target"),
    [
        ("tcp://127.0.0.1", "tcp://127.0.0.1:7864", "127.0.0.1:7864"),
        ("ssh://h", "ssh://h:22", "h:22"),
        ("rdp://h:", "rdp://h:3389", "h:3389"),
        ("SMB://h", "smb://h:445", "h:445"),
        ("ftp://h", "ftp://h", "h:0"),
    ],
)
def test_a_scheme_has_the_port_that_stock_gives_it(text: str, shown: str, target: str) -> None:
    service = parse_service(text)
    assert (service.kind, service.text, service.target) == ("tcp", shown, target)


@pytest.mark.parametrize("text", ["http_status:+404", "http_status:0404"])
def test_a_status_is_a_number_as_stock_reads_one(text: str) -> None:
    assert parse_service(text) == parse_service("http_status:404")


@pytest.mark.parametrize("part", ["?x=1", "#f", "?x=1#f"])
def test_a_query_and_a_fragment_have_no_effect(part: str) -> None:
    service = parse_service(f"http://user:secret@h:80{part}")
    assert (service.target, service.ignored) == ("http://h:80", part)
    assert "secret" not in service.text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "ingress_no_service"),
        ("localhost:80", "ingress_bad_service"),
        ("127.0.0.1:80", "ingress_bad_service"),
        ("localhost", "ingress_bad_service"),
        ("http://", "ingress_bad_service"),
        ("http://:80", "ingress_bad_service"),
        ("http://h:0", "ingress_bad_service"),
        ("http://h:99999", "ingress_bad_service"),
        ("http://h:x", "ingress_bad_service"),
        ("http://256.0.0.1", "ingress_bad_service"),
        ("http://1.2.3", "ingress_bad_service"),
        ("http://a..b", "ingress_bad_service"),
        ("http://[::1", "ingress_bad_service"),
        ("http://h\n", "ingress_bad_service"),
        ("http://h\r\nX: y", "ingress_bad_service"),
        ("unix:", "ingress_bad_service"),
        ("http://h/", "ingress_service_has_path"),
        ("http://h:80/base", "ingress_service_has_path"),
        ("tcp://h:1/x", "ingress_service_has_path"),
        ("https://6f0b8a2c-1e8a-4f8c-9d8e-0a1b2c3d4e5f.cfargotunnel.com", "ingress_service_is_edge"),
        ("http://H2.cftunnel.com:7844", "ingress_service_is_edge"),
        ("https://management.argotunnel.com", "ingress_service_is_edge"),
        ("ssh://region1.v2.argotunnel.com:7844", "ingress_service_is_edge"),
        ("http_status:", "ingress_bad_status"),
        ("http_status:99", "ingress_bad_status"),
        ("http_status:1000", "ingress_bad_status"),
        ("http_status:-404", "ingress_bad_status"),
        ("http_status:++404", "ingress_bad_status"),
        ("http_status:abc", "ingress_bad_status"),
        ("http_status:４０４", "ingress_bad_status"),
    ],
)
def test_what_is_no_service_is_refused(text: str, code: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_service(text, where="ingress[3].service")
    assert (caught.value.code, caught.value.where) == (code, "ingress[3].service")


def test_the_hint_for_a_host_and_port_is_the_url() -> None:
    with pytest.raises(QanatError) as caught:
        parse_service("localhost:80")
    assert caught.value.hint == "write http://localhost:80"


def test_a_password_in_a_service_reaches_no_log() -> None:
    service = parse_service("http://user:hunter2@h:80")
    assert (service.text, service.target, service.userinfo) == ("http://h:80", "http://h:80", True)
    with pytest.raises(QanatError) as caught:
        parse_service("http://user:hunter2@h:80/x")
    assert "hunter2" not in str(caught.value)
