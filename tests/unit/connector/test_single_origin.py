"""cases.md 76: `--url` in its odd forms."""

import pytest

from qanat.connector.flags import read_command_line
from qanat.connector.single_origin import service_of_url, single_origin
from qanat.connector.sources import gather
from qanat.errors import QanatError
from qanat.ingress.rules import Configuration, parse_configuration

pytestmark = pytest.mark.case(76)


def origin(*arguments: str, **environment: str) -> tuple[Configuration, str, list[str]]:
    warnings: list[str] = []
    found, source = single_origin(gather(read_command_line(["tunnel", "run", *arguments]), environment), warnings)
    assert found is not None
    return found, source, warnings


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("h", "http://h:80"),
        ("ssh:22", "http://ssh:22"),
        ("http:80", "http://http:80"),
        ("http://h:8080/", "http://h:8080"),
        ("http://h:8080/base", "http://h:8080"),
        ("http://h:8080?q=1", "http://h:8080"),
        ("http://h:8080/#f", "http://h:8080"),
        ("localhost:8080/base?q", "http://localhost:8080"),
        ("HTTPS://H/", "https://h:443"),
        ("https://h", "https://h:443"),
        ("wss://h:1", "https://h:1"),
        ("http://h:", "http://h:80"),
        ("h:", "http://h:80"),
        (":8080", "http://localhost:8080"),
        ("http://:8080", "http://localhost:8080"),
        ("[::1]", "http://[::1]:80"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:80"),
        ("fe80::a", "http://[fe80::a]:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://a_b:1", "http://a_b:1"),
        ("http://user:secret@h:1", "http://h:1"),
        (" localhost:8080\n", "http://localhost:8080"),
    ],
)
def test_what_stock_takes_is_one_origin_by_flag_and_variable(text: str, target: str) -> None:
    assert [rule.service.target for rule in origin("--url", text)[0].rules] == [target]
    found, source, _ = origin(TUNNEL_URL=text)
    assert ([rule.service.target for rule in found.rules], source) == ([target], "$TUNNEL_URL")


@pytest.mark.parametrize("text", ["unix:/run/x.sock", "unix+tls:/run/x.sock", "http_status:404", "hello_world"])
def test_the_other_services_of_a_rule_are_taken_as_well(text: str) -> None:
    assert origin("--url", text)[0].rules[0].service.text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/run/x.sock", "write --unix-socket /run/x.sock"),
        ("8080", "write http://localhost:8080"),
        ("http://::1:8080", "write http://[::1]:8080"),
        ("::1:8080", "write [::1]:8080 for that port, or [::1:8080]"),
        ("ftp://x", "ftp"),
        ("http://h:99999", "not a valid URL"),
        ("http://h:x", "not a valid URL"),
        ("https:h", "write https://h"),
        ("http:/h", "write http:///h"),
        ("http://", "no scheme and host"),
        ("//h:1", "is a path"),
        ("http://a b", ""),
        ("", "it is empty"),
    ],
)
def test_what_nothing_answers_is_refused_at_the_start_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(QanatError) as caught:
        origin("--url", text)
    assert caught.value.where == "--url"
    assert said in str(caught.value)


@pytest.mark.case(76)
@pytest.mark.parametrize(
    ("arguments", "kind", "target"),
    [
        (["--url", "ssh://x"], "tcp", "x:22"),
        (["--url", "tcp://x:5/"], "tcp", "x:5"),
        (["--bastion"], "bastion", ""),
        (["--bastion", "--socks5", "--url", "h:1"], "bastion", ""),
        (["--url", "rdp://x", "--socks5"], "tcp", "x:3389"),
    ],
)
def test_what_is_not_http_is_one_origin_as_well(arguments: list[str], kind: str, target: str) -> None:
    rule = origin(*arguments)[0].rules[0]
    assert (rule.service.kind, rule.service.target) == (kind, target)
    assert rule.origin.proxy_type == ("socks" if "--socks5" in arguments else None)


def test_hello_world_wins_over_a_url_which_wins_over_a_socket() -> None:
    found, source, warnings = origin("--url", "h:1", "--unix-socket", "/s", "--hello-world")
    assert (found.rules[0].service.kind, source) == ("hello_world", "--hello-world")
    assert warnings == ["--hello-world is used; --url and --unix-socket are ignored"]
    found, source, warnings = origin("--unix-socket", "/s", TUNNEL_URL="h:1")
    assert (found.rules[0].service.target, source) == ("http://h:1", "$TUNNEL_URL")
    assert warnings == ["$TUNNEL_URL is used; --unix-socket is ignored"]


def test_what_of_a_url_is_left_out_is_told_and_a_bare_slash_is_not() -> None:
    assert origin("--url", "http://h:1/")[2] == []
    assert origin("--url", "http://h:1/base?q")[2] == [
        "--url: '/base?q' is left out: requests keep the path they came with"
    ]


def test_a_secret_in_a_url_is_in_no_service_text() -> None:
    assert "secret" not in origin("--url", "http://user:secret@h:1")[0].rules[0].service.text
    assert service_of_url("h")[0] == "http://h"


@pytest.mark.parametrize(
    "text",
    ["/run/x.sock", "localhost:8080", "127.0.0.1:8080", "8080", "http://::1:8080", "http://127.0.0.1:8080/base", ""],
)
def test_as_a_service_they_are_refused_as_by_stock(text: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_configuration({"ingress": [{"service": text}]}, form="yaml")
    assert caught.value.where == "ingress[0].service"


@pytest.mark.case(75)
@pytest.mark.parametrize("word", ["yes", "true", "on"])
def test_a_boolean_of_a_rule_has_its_effect(word: str) -> None:
    text = f"ingress: [{{service: 'https://h', originRequest: {{noTLSVerify: {word}}}}}]"
    assert parse_configuration(text, form="yaml").rules[0].origin.no_tls_verify is True
