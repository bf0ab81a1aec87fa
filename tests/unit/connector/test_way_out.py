import pytest

from qanat.connector.way_out import is_excepted, proxy


@pytest.mark.parametrize(
    ("text", "address", "tls"),
    [
        ("http://proxy:3128", "proxy:3128", False),
        ("proxy:3128", "proxy:3128", False),
        ("http://proxy/", "proxy:80", False),
        ("https://proxy", "proxy:443", True),
        ("http://[::1]:3128", "[::1]:3128", False),
    ],
)
def test_the_proxy_is_read_as_other_programs_read_it(text: str, address: str, tls: bool) -> None:
    warnings: list[str] = []
    got = proxy({"HTTPS_PROXY": text}, warnings)
    assert got is not None
    assert (got.address, got.tls, warnings) == (address, tls, [])


@pytest.mark.parametrize(
    "text", ["socks5://u:secret@proxy:1080", "http://", "http://u:secret@proxy:x", "http://::1:80"]
)
def test_what_is_no_http_proxy_is_passed_over_with_a_warning_that_holds_no_secret(text: str) -> None:
    warnings: list[str] = []
    assert proxy({"https_proxy": text}, warnings) is None
    assert "$https_proxy is not used" in warnings[0]
    assert "secret" not in warnings[0]


@pytest.mark.parametrize(
    ("listed", "host", "excepted"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        (".example.com", "example.com", False),
        (".example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("ample.com", "example.com", False),
        ("example.com:7844", "example.com", True),
        ("example.com:443", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("x, 192.0.2.1 ", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("*", "anything", True),
        ("", "anything", False),
        ("", "localhost", True),
        ("", "127.9.9.9", True),
    ],
)
def test_no_proxy_names_hosts_domains_and_networks(listed: str, host: str, excepted: bool) -> None:
    assert is_excepted({"NO_PROXY": listed}, host, 7844) is excepted
