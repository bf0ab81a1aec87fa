"""How a start ends: cases.md 75 and 76, exit codes, and a value of each kind that stock takes, with the real process."""

from pathlib import Path

import pytest

from tests.process.test_cases_tokens import TOKEN
from tests.support.connector import STOCK, Connector, Kind
from tests.support.fixtures import NO_STOCK
from tests.support.origin import Origin
from tests.support.processes import QANAT, Process
from tests.support.sites import Fakes, Link
from tests.support.waiting import wait_until

KINDS = [
    "qanat",
    pytest.param("cloudflared", marks=[pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]),
]


def run(
    kind: Kind,
    folder: Path,
    *flags: str,
    env: dict[str, str] | None = None,
    token: str = TOKEN,
    metrics: str | None = "127.0.0.1:0",
) -> Process:
    """`tunnel … run` towards an edge that is nowhere."""
    (folder / "token").write_text(token)
    binary = QANAT if kind == "qanat" else [str(STOCK)]
    general = ["--edge", "127.0.0.1:9", "--no-autoupdate", "--no-prechecks"]
    general += ["--metrics", metrics, *flags] if metrics else flags
    return Process(kind, [*binary, "tunnel", *general, "run", "--token-file", str(folder / "token")], env)


WRONG_FILES = {
    "a bad duration": "grace-period: soon\n",
    "no protocol": "protocol: tcp\n",
    "a wrong type": "ingress: 5\n",
    "no catch-all": "ingress:\n- {hostname: a.test, service: 'http://127.0.0.1:1'}\n",
    "a service with a path": "ingress:\n- {service: 'http://127.0.0.1:1/x'}\n",
    "a key twice": "ingress:\n- service: http_status:404\n  service: http_status:405\n",
    "a tab": "\tretries: 5\n",
    "a URL that is none": "url: http://::1:8080\n",
    "a port that is none": "metrics: 127.0.0.1:99999\n",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_ends_the_start_with_1_as_stock(folder: Path, kind: Kind, name: str) -> None:
    file = folder / "config.yml"
    file.write_text(WRONG_FILES[name])
    process = run(
        kind, folder, "--config", str(file), metrics=None if "metrics" in WRONG_FILES[name] else "127.0.0.1:0"
    )
    assert process.wait() == 1
    said = process.log()
    assert "Traceback" not in said
    if kind == "qanat":
        assert str(file) in said, said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "flags",
    [
        ("--protocol", "tcp"),
        ("--edge-ip-version", "5"),
        ("--edge-bind-address", "203.0.113.1"),
        ("--cacert", "/nonexistent"),
        ("--config", "/nonexistent"),
        ("--url", "ftp://x"),
        ("--metrics", "203.0.113.1:1"),
    ],
    ids=" ".join,
)
def test_a_wrong_value_ends_the_start_with_1_as_stock(folder: Path, kind: Kind, flags: tuple[str, ...]) -> None:
    assert run(kind, folder, *flags).wait() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_none_ends_the_start_with_255_as_stock(folder: Path, kind: Kind) -> None:
    assert run(kind, folder, token="no token").wait() == 255


@pytest.mark.case(75)
@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        (("--grace-period", "10"), {}, "--grace-period"),
        (("--grace-period", "-1s"), {}, "--grace-period"),
        ((), {"TUNNEL_GRACE_PERIOD": "10"}, "$TUNNEL_GRACE_PERIOD"),
        ((), {"NO_TLS_VERIFY": "yes"}, "$NO_TLS_VERIFY"),
    ],
)
def test_a_value_that_cant_be_read_never_ends_in_success(
    folder: Path, flags: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    process = run("qanat", folder, *flags, env=env)
    assert process.wait() == 1
    assert f"{said}: " in process.log()
    assert "fix: " in process.log()


@pytest.mark.parametrize("flags", [("--frobnicate", "1"), ("--frobnicate",), ("--tokne", "x")], ids=" ".join)
def test_an_unknown_flag_before_run_is_named_whatever_follows_it(folder: Path, flags: tuple[str, ...]) -> None:
    process = run("qanat", folder, *flags)
    assert process.wait() == 255
    assert f"error[usage]: {flags[0]}: there is no such flag" in process.log()


@pytest.mark.case(75)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "env"),
    [
        (b"retries: 5\r\nmetrics: 127.0.0.1:0\r\n", {}),
        (b"\xef\xbb\xbfretries: 5\n", {}),
        (b"ingress:\n", {}),
        (b'edge: "127.0.0.1:9"\nedge-ip-version: "4"\n', {}),
        (b"loglevell: debug\ningress:\n- {service: 'http_status:404', noTLSVerify: true}\n", {}),
        (b"", {"TUNNEL_LOGLEVEL": "warning"}),
        (b"proxy-dns: true\nproxy-dns-port: 5053\nproxy-dns-upstream: [x]\n", {"NO_TLS_VERIFY": "TRUE"}),
    ],
)
def test_what_stock_starts_with_starts(folder: Path, kind: Kind, content: bytes, env: dict[str, str]) -> None:
    file = folder / "config.yml"
    file.write_bytes(content)
    process = run(kind, folder, "--config", str(file), env=env)
    process.wait_for("Starting metrics server on ")
    process.kill()


@pytest.mark.case(75)
def test_the_command_line_wins_over_the_file(fakes: Fakes, folder: Path) -> None:
    tunnel, _ = fakes.tunnel()
    file = folder / "config.yml"
    file.write_text("protocol: http2\n")
    connector = Connector(folder / "one", fakes.edge, tunnel.token, protocol="quic", flags=("--config", str(file)))
    connector.process.wait_for("Registered tunnel connection .*protocol=quic")
    connector.stop()


@pytest.mark.case(76)
@pytest.mark.parametrize("way", ["flag", "variable", "file"])
def test_host_and_port_alone_serve(fakes: Fakes, folder: Path, link: Link, way: str) -> None:
    origin = Origin()
    tunnel, hostname = fakes.tunnel(config_src="local")
    text = origin.service.removeprefix("http://")
    flags: tuple[str, ...] = ("--url", f"{text}/base?q") if way == "flag" else ()
    if way == "file":
        (folder / "config.yml").write_text(f"url: {text}\n")
        flags = ("--config", str(folder / "config.yml"))
    env = {"TUNNEL_URL": f"http://{text}/"} if way == "variable" else None
    connector = Connector(
        folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, flags=flags, env=env, connections=1
    )
    wait_until(lambda: fakes.lab.status(hostname) == 200, "the origin")
    connector.stop()
    origin.close()


def test_a_tunnel_is_dialled_from_the_address_and_with_the_key_exchange_that_were_asked_for(
    fakes: Fakes, folder: Path, link: Link
) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:418"}])
    flags = ("--post-quantum", "--edge-bind-address", "127.0.0.7", "--edge-ip-version", "4")
    connector = Connector(folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, flags=flags)
    wait_until(lambda: fakes.lab.status(hostname) == 418, "the rule")
    path = f"/accounts/{fakes.edge.api.account}/cfd_tunnel/{tunnel.id}/connections"

    def addresses() -> set[str]:
        return {each["origin_ip"] for client in fakes.edge.api.call("GET", path) for each in client["conns"]}

    assert wait_until(addresses, "the connection in the API") == {"127.0.0.7"}
    connector.stop()
