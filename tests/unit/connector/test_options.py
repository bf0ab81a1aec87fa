import base64
import json
from pathlib import Path

import pytest

from qanat.connector.flags import read_command_line
from qanat.connector.options import Options, gather, log_options, read_options, shown_environment, shown_settings
from qanat.errors import QanatError

TUNNEL = "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13"
OTHER = "11111111-7d3f-4f6e-9b1a-2f4d6c8e0a13"


def token(tunnel: str = TUNNEL) -> str:
    secret = base64.b64encode(bytes(32)).decode()
    return base64.b64encode(json.dumps({"a": "ab" * 16, "t": tunnel, "s": secret}).encode()).decode()


def options(*arguments: str, **environment: str) -> Options:
    return read_options(gather(read_command_line(["tunnel", "run", *arguments]), environment))


def refusal(*arguments: str, **environment: str) -> QanatError:
    with pytest.raises(QanatError) as caught:
        options(*arguments, **environment)
    return caught.value


def test_the_defaults_are_stock_cloudflareds() -> None:
    got = options("--token", token(), "--edge", "h:7844")
    assert (got.protocol, got.ha_connections, got.retries, got.grace_period_s) == ("auto", 4, 5, 30.0)
    assert (got.rpc_timeout_s, got.dial_timeout_s, got.metrics, got.local) == (5.0, 15.0, None, None)


def test_the_command_line_wins_over_variables_which_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("protocol: quic\ngrace-period: 10s\nha-connections: 2\nedge: [f:1]\n")
    got = options(
        "--config", str(file), "--token", token(), "--protocol", "http2", TUNNEL_TRANSPORT_PROTOCOL="auto",
        TUNNEL_GRACE_PERIOD="20s",
    )  # fmt: skip
    assert (got.protocol, got.grace_period_s, got.ha_connections, got.edges) == ("http2", 20.0, 2, ("f:1",))


def test_a_config_file_is_found_where_stock_looks_for_it(tmp_path: Path) -> None:
    folder = tmp_path / ".cloudflared"
    folder.mkdir()
    (folder / "config.yaml").write_text("edge: [f:1]\n")
    assert options("--token", token(), HOME=str(tmp_path)).edges == ("f:1",)


def test_the_config_flag_may_stand_before_and_after_run(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("edge: [f:1]\n")
    line = read_command_line(["tunnel", "--config", str(file), "run", "--token", token()])
    assert read_options(gather(line, {})).edges == ("f:1",)


def test_a_token_wins_over_a_token_file_which_wins_over_credentials(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(OTHER))
    file.chmod(0o600)
    got = options("--token-file", str(file), "--edge", "h:1", TUNNEL_TOKEN=token())
    assert got.credentials.tunnel_id == TUNNEL
    assert got.warnings == ("--token is used; --token-file is ignored",)
    got = options("--token-file", str(file), "--credentials-file", "/nonexistent", "--edge", "h:1")
    assert got.credentials.tunnel_id == OTHER


def test_a_readable_token_file_is_warned_about(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token())
    file.chmod(0o644)
    assert any("0600" in warning for warning in options("--token-file", str(file), "--edge", "h:1").warnings)


def test_a_bad_token_is_told_by_the_source_that_gave_it() -> None:
    assert refusal("--token", "x", "--edge", "h:1").where == "--token"
    assert refusal("--edge", "h:1", TUNNEL_TOKEN="x").where == "$TUNNEL_TOKEN"
    assert refusal("--edge", "h:1").code == "token_missing"


def test_credentials_of_another_tunnel_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    secret = base64.b64encode(bytes(32)).decode()
    file.write_text(json.dumps({"AccountTag": "ab" * 16, "TunnelSecret": secret, "TunnelID": OTHER}))
    assert refusal("--credentials-file", str(file), "--edge", "h:1", TUNNEL).code == "credentials_file_invalid"
    assert options("--credentials-file", str(file), "--edge", "h:1", OTHER).credentials.tunnel_id == OTHER


@pytest.mark.parametrize("edge", ["host", "host:", ":7844", "::1:7844", "host:0", "host:99999", "host:x", "[]:1"])
def test_an_edge_that_is_no_host_and_port_is_refused(edge: str) -> None:
    assert refusal("--token", token(), "--edge", edge).where == "--edge"


def test_edges_are_kept_in_order() -> None:
    assert options("--token", token(), "--edge", "a:1", "--edge", "[::1]:2,c:3").edges == ("a:1", "[::1]:2", "c:3")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["--protocol", "tcp"], "--protocol"),
        (["--ha-connections", "0"], "--ha-connections"),
        (["--rpc-timeout", "0s"], "--rpc-timeout"),
        (["--cacert", "/nonexistent"], "--cacert /nonexistent"),
        (["--config", "/nonexistent.yml"], "/nonexistent.yml"),
        (["--region", "us"], "--region"),
        (["--edge-ip-version", "6"], "--edge-ip-version"),
        (["--bastion"], "--bastion"),
        (["--url", "http://h/x"], "--url"),
        (["--url", "http://h", "--unix-socket", "/s"], "--unix-socket"),
        (["A", "B"], "tunnel run"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(arguments: list[str], where: str) -> None:
    assert refusal("--token", token(), "--edge", "h:1", *arguments).where == where


def test_stock_defaults_of_refused_flags_are_taken() -> None:
    assert options("--token", token(), "--edge", "h:1", "--edge-ip-version", "auto", "--bastion=false").warnings == ()


def test_flags_without_effect_yet_are_warned_about_and_harmless_ones_are_not() -> None:
    got = options("--token", token(), "--edge", "h:1", "--label", "x", "--no-autoupdate")
    assert got.warnings == ("--label has no effect in this version of qanat",)


def test_a_ca_file_without_certificate_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    assert refusal("--token", token(), "--edge", "h:1", "--cacert", str(file)).code == "ca_file_invalid"


def test_one_origin_by_flags_becomes_one_rule() -> None:
    got = options("--token", token(), "--edge", "h:1", "--url", "https://127.0.0.1:8443", "--no-tls-verify")
    assert got.local is not None
    assert [rule.service.text for rule in got.local.rules] == ["https://127.0.0.1:8443"]
    assert got.local.rules[0].origin.no_tls_verify is True
    socket = options("--token", token(), "--edge", "h:1", "--unix-socket", "/run/app.sock").local
    assert socket is not None
    assert socket.rules[0].service.kind == "unix"


def test_the_rules_of_the_file_win_over_the_single_origin(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("url: http://127.0.0.1:1\ningress:\n- service: http_status:404\n")
    got = options("--token", token(), "--edge", "h:1", "--config", str(file))
    assert got.local is not None
    assert (got.local.rules[0].service.text, got.local_source) == ("http_status:404", str(file))


def test_an_unknown_key_of_the_file_is_warned_about_and_a_misspelt_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("zebra: 1\ntunnel: x\nlogfile: ''\n")
    got = options("--token", token(), "--edge", "h:1", "--config", str(file))
    assert len(got.warnings) == 1
    assert "zebra" in got.warnings[0]
    file.write_text("orignRequest: {}\n")
    assert refusal("--token", token(), "--edge", "h:1", "--config", str(file)).code == "configuration_misspelt_key"


@pytest.mark.parametrize("content", ["[", "- a\n- b", "a: b: c", "\x00"])
def test_a_malformed_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(content)
    error = refusal("--token", token(), "--edge", "h:1", "--config", str(file))
    assert (error.code, error.where) == ("configuration_file_invalid", str(file))


def test_shown_settings_and_environment_hide_secrets() -> None:
    environment = {"TUNNEL_TOKEN": token(), "TUNNEL_EDGE": "h:1", "MY_TUNNEL_SECRET": "hunter2"}
    sources = gather(read_command_line(["tunnel", "run", "--token", token(), "--grace-period", "90s"]), environment)
    assert shown_settings(sources) == {"token": "*****", "edge": "[h:1]", "grace-period": "1m30s"}
    assert shown_environment(sources.environment) == {
        "TUNNEL_TOKEN": "*****",
        "TUNNEL_EDGE": "h:1",
        "MY_TUNNEL_SECRET": "*****",
    }


@pytest.mark.parametrize(
    ("arguments", "where"), [(["--loglevel", "loud"], "--loglevel"), (["--output", "xml"], "--output")]
)
def test_bad_log_options_are_refused(arguments: list[str], where: str) -> None:
    with pytest.raises(QanatError) as caught:
        log_options(gather(read_command_line(["tunnel", "run", *arguments]), {}))
    assert caught.value.where == where


def test_allowed_origins_come_by_flag_variable_or_file_and_a_bad_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("allow-origins: [169.254.169.254, meta.test:80]\n")
    base = ("--token", token(), "--edge", "h:7844")
    assert options(*base).allow_origins == ()
    assert options(*base, "--config", str(file)).allow_origins == ("169.254.169.254", "meta.test:80")
    assert options(*base, TUNNEL_ALLOW_ORIGINS="fe80::/10,[::1]:20241").allow_origins == ("fe80::/10", "[::1]:20241")
    for bad in ("10.0.0.0/33", "http://10.0.0.1", "a b"):
        error = refusal(*base, "--allow-origins", bad)
        assert (error.code, error.where) == ("usage", "--allow-origins"), bad


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize("text", [LAUGHS, "a: " + "[" * 5000])
def test_a_file_of_aliases_or_depth_is_refused_at_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yml"
    file.write_text(text)
    assert refusal("--token", token(), "--edge", "h:7844", "--config", str(file)).code == "configuration_file_invalid"


def test_a_local_rule_to_metadata_is_warned_about_only(tmp_path: Path) -> None:
    got = options("--token", token(), "--edge", "h:7844", "--url", "http://169.254.169.254")
    assert got.local is not None
    assert any("answers 502 where this was pushed to it" in warning for warning in got.warnings)
