import base64
import json
from pathlib import Path

import pytest

from qanat.connector.flag_table import FLAGS
from qanat.connector.flags import read_command_line
from qanat.connector.options import LogOptions, Options, log_options, read_options
from qanat.connector.sources import gather, shown_environment, shown_settings
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
    assert (got.protocol, got.grace_period_s, got.ha_connections, got.edges.targets) == ("http2", 20.0, 2, ("f:1",))


def test_an_empty_variable_hides_what_the_file_says_as_in_stock(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("protocol: quic\ngrace-period: 10s\nedge: [f:1]\n")
    got = options("--config", str(file), "--token", token(), TUNNEL_TRANSPORT_PROTOCOL="", TUNNEL_GRACE_PERIOD="")
    assert (got.protocol, got.grace_period_s, got.edges.targets) == ("auto", 30.0, ("f:1",))


def test_a_config_file_is_found_where_stock_looks_for_it(tmp_path: Path) -> None:
    folder = tmp_path / ".cloudflared"
    folder.mkdir()
    (folder / "config.yaml").write_text("edge: [f:1]\n")
    assert options("--token", token(), HOME=str(tmp_path)).edges.targets == ("f:1",)


def test_the_config_flag_may_stand_before_and_after_run(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("edge: [f:1]\n")
    line = read_command_line(["tunnel", "--config", str(file), "run", "--token", token()])
    assert read_options(gather(line, {})).edges.targets == ("f:1",)


def test_a_token_wins_over_a_token_file_which_wins_over_credentials(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(OTHER))
    file.chmod(0o600)
    got = options("--token-file", str(file), "--edge", "h:1", TUNNEL_TOKEN=token())
    assert got.credentials.tunnel_id == TUNNEL
    assert got.warnings == ("$TUNNEL_TOKEN is used; --token-file is ignored",)
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


@pytest.mark.parametrize("edge", ["host:", ":7844", "::1:x", "host:0", "host:99999", "host:x", "[]:1", "a b", "-"])
def test_an_edge_that_is_no_host_and_port_is_refused(edge: str) -> None:
    assert refusal("--token", token(), "--edge", edge).where == "--edge"


def test_edges_are_kept_in_order() -> None:
    assert options("--token", token(), "--edge", "a:1", "--edge", "[::1]:2,c:3").edges.targets == (
        "a:1",
        "[::1]:2",
        "c:3",
    )


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["--protocol", "tcp"], "--protocol"),
        (["--ha-connections", "-1"], "--ha-connections"),
        (["--congestion", "reno"], "--congestion"),
        (["--cacert", "/nonexistent"], "--cacert /nonexistent"),
        (["--config", "/nonexistent.yml"], "/nonexistent.yml"),
        (["--edge-ip-version", "5"], "--edge-ip-version"),
        (["--edge-bind-address", "localhost"], "--edge-bind-address"),
        (["--edge-bind-address", "203.0.113.1"], "--edge-bind-address"),
        (["--tag", "x"], "--tag"),
        (["--quic-stream-level-flow-control-limit", "-1"], "--quic-stream-level-flow-control-limit"),
        (["--unix-socket", ""], "--unix-socket"),
        (["A", "B"], "tunnel run"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(arguments: list[str], where: str) -> None:
    assert refusal("--token", token(), "--edge", "h:1", *arguments).where == where


def test_flags_without_effect_yet_are_warned_about_and_harmless_ones_are_not() -> None:
    got = options("--token", token(), "--edge", "h:1", "--trace-output", "x", "--no-autoupdate")
    assert got.warnings == ("--trace-output has no effect in this version of qanat",)
    got = options("--token", token(), "--edge", "h:1", "--s3-url-host", "x", TUNNEL_ICMPV4_SRC="127.0.0.1")
    assert got.warnings == ("$TUNNEL_ICMPV4_SRC, --s3-url-host have no effect in this version of qanat",)


def test_tags_are_divided_at_commas_in_the_variable_only_as_in_stock(tmp_path: Path) -> None:
    base = ("--token", token(), "--edge", "h:1")
    assert options(*base, "--tag", "a=b,c=d", "--tag", "e=f g").tags == (("a", "b,c=d"), ("e", "f g"))
    assert options(*base, TUNNEL_TAG="a=b, c=d").tags == (("a", "b"), ("c", "d"))
    file = tmp_path / "c.yml"
    file.write_text("tag: ['a=b,c=d', 'e==f']\n")
    assert options(*base, "--config", str(file)).tags == (("a", "b,c=d"), ("e", "=f"))
    for bad in ("a", "=b", "a=", "a b=c", "a=\n", "a=é"):
        error = refusal(*base, f"--tag={bad}")
        assert (error.code, error.where) == ("flag_value_invalid", "--tag"), bad


def test_what_others_build_on_is_there_with_stocks_defaults() -> None:
    base = ("--token", token(), "--edge", "h:1")
    got = options(*base)
    assert (got.max_edge_addr_retries, got.write_stream_timeout_s, got.pmtu_discovery) == (8, 0, True)
    assert (got.connection_flow_control, got.stream_flow_control, got.prechecks) == (None, None, True)
    assert (got.label, got.tags, got.features, got.stdin_control) == ("", (), (), False)
    assert (got.management.hostname, got.management.diagnostics) == ("management.argotunnel.com", True)
    got = options(
        *base, "--region", "us", "--no-prechecks", "--label", "l", "--features", "a", "-F", "b",
        "--management-diagnostics=false", TUNNEL_QUIC_STREAM_LEVEL_FLOW_CONTROL_LIMIT="1000", STDIN_CONTROL="true",
        TUNNEL_DISABLE_QUIC_PMTU="true", TUNNEL_STREAM_WRITE_TIMEOUT="5s",
    )  # fmt: skip
    assert (got.prechecks, got.label, got.features) == (False, "l", ("a", "b"))
    assert (got.management.diagnostics, got.stream_flow_control, got.stdin_control) == (False, 1000, True)
    assert (got.pmtu_discovery, got.write_stream_timeout_s) == (False, 5.0)


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


def test_an_unknown_key_of_the_file_is_warned_about_with_the_one_that_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("zebra: 1\ntunnel: x\nlogfile: ''\n")
    got = options("--token", token(), "--edge", "h:1", "--config", str(file))
    assert len(got.warnings) == 1
    assert "zebra" in got.warnings[0]
    file.write_text("loglevell: debug\ningress:\n- {service: 'http_status:404', noTLSVerify: true}\n")
    got = options("--token", token(), "--edge", "h:1", "--config", str(file))
    assert [warning.rpartition(" (")[2] for warning in got.warnings] == [
        "write loglevel)",
        "did you mean ingress[0].originRequest.noTLSVerify?)",
    ]
    assert all(warning.startswith(f"{file}: ") for warning in got.warnings)


def test_a_slip_that_would_let_anybody_in_is_refused_with_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    for text, where in (
        ("originRequest: {acces: {required: true}}", "originRequest.acces"),
        ("orignRequest: {access: {required: true}}", "orignRequest"),
        ("ingress: [{service: 'http_status:404', access: {required: true}}]", "ingress[0].access"),
        ("originRequest: {access: {requird: true}}", "originRequest.access.requird"),
    ):
        file.write_text(text)
        error = refusal("--token", token(), "--edge", "h:1", "--config", str(file))
        assert (error.code, error.where) == ("configuration_misspelt_key", f"{file}:1: {where}")


def test_a_template_that_aliases_name_is_no_slip(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("x-a: &a {access: {required: true}}\ningress:\n- {service: 'http_status:404', originRequest: *a}\n")
    got = options("--token", token(), "--edge", "h:1", "--config", str(file))
    assert got.local is not None
    assert got.local.rules[0].origin.access is not None


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("retries: 5\n\nretries: 6\n", "retries", (1, 3)),
        ("ingress:\n- service: http_status:404\n  service: http_status:405\n", "service", (2, 3)),
        ("originRequest:\n  noTLSVerify: true\n  'noTLSVerify': false\n", "noTLSVerify", (2, 3)),
        ("a: {b: 1, b: 1}\n", "b", (1, 1)),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(
    tmp_path: Path, text: str, key: str, lines: tuple[int, int]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)
    error = refusal("--token", token(), "--edge", "h:1", "--config", str(file))
    assert error.where == str(file)
    assert error.message == f"the key '{key}' stands twice in one mapping, in line {lines[0]} and in line {lines[1]}"


def test_one_key_in_two_mappings_and_merged_keys_are_no_doubles(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("a: {b: &b {c: 1}, d: {<<: *b, c: 2}}\ningress: [{service: 'http_status:404'}]\n")
    assert options("--token", token(), "--edge", "h:1", "--config", str(file)).local is not None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("grace-period: 10", "grace-period"),
        ("grace-period: ''", "grace-period"),
        ("protocol: tcp", "protocol"),
        ("edge-ip-version: 5", "edge-ip-version"),
        ("url: /run/x.sock", "url"),
        ("no-tls-verify: maybe", "no-tls-verify"),
        ("cacert: /nonexistent", "cacert /nonexistent"),
        ("edge: 'host:'", "edge"),
        ("ingress: [{service: 'http://h/x'}]", "ingress[0].service"),
        ("ingress: 5", "ingress"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_file_and_key(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(f"# the first line\n{text}\n")
    flags = () if text.startswith("edge: ") else ("--edge", "h:1")
    assert refusal("--token", token(), *flags, "--config", str(file)).where == f"{file}:2: {where}"


def test_a_second_document_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("---\nretries: 5\n---\nretries: 6\n")
    error = refusal("--token", token(), "--edge", "h:1", "--config", str(file))
    assert error.where == str(file)
    assert "begins in line 3" in error.message


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


def logged(*arguments: str, **environment: str) -> LogOptions:
    return log_options(gather(read_command_line(["tunnel", "run", *arguments]), environment))


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error", "fatal", "panic"])
def test_the_levels_are_stock_cloudflareds(level: str) -> None:
    got = logged("--loglevel", level)
    assert (got.level, got.warnings) == (level, ())


def test_a_level_or_format_that_is_none_is_told_and_the_usual_one_used_as_stock_does() -> None:
    got = logged(TUNNEL_LOGLEVEL="warning")
    assert (got.level, got.warnings) == (
        "info",
        ("$TUNNEL_LOGLEVEL: 'warning' is not a valid log level, so info is used (did you mean warn?)",),
    )
    for level in ("disabled", "DEBUG", "3", "loud"):
        assert logged("--loglevel", level).level == "info"
    got = logged("--output", "xml")
    assert (got.json, len(got.warnings)) == (False, 1)


def test_a_log_file_wins_over_a_log_directory() -> None:
    got = logged("--log-directory", "/d")
    assert (got.file, got.folder) == (None, "/d")
    got = logged("--log-directory", "/d", "--logfile", "/f")
    assert (got.file, got.folder, got.warnings) == ("/f", None, ("--logfile is used; --log-directory is ignored",))


def test_allowed_origins_come_by_flag_variable_or_file_and_a_bad_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("allow-origins: [169.254.169.254, meta.test:80]\n")
    base = ("--token", token(), "--edge", "h:7844")
    assert options(*base).allow_origins == ()
    assert options(*base, "--config", str(file)).allow_origins == ("169.254.169.254", "meta.test:80")
    assert options(*base, TUNNEL_ALLOW_ORIGINS="fe80::/10,[::1]:20241").allow_origins == ("fe80::/10", "[::1]:20241")
    for bad in ("10.0.0.0/33", "http://10.0.0.1", "a b"):
        error = refusal(*base, "--allow-origins", bad)
        assert (error.code, error.where) == ("flag_value_invalid", "--allow-origins"), bad


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


_STOCK = """
edge=127.0.0.1:9 region=us edge-ip-version=4 edge-ip-version=6 edge-ip-version=auto edge-bind-address=127.0.0.1
protocol=http2 protocol=h2mux p=quic post-quantum pq ha-connections=0 ha-connections=1000 retries=0 retries=-1
max-edge-addr-retries=0 dial-edge-timeout=0s dial-edge-timeout=1s rpc-timeout=0s rpc-timeout=7s write-stream-timeout=5s
quic-disable-pmtu-discovery quic-connection-level-flow-control-limit=1000 quic-stream-level-flow-control-limit=1000
heartbeat-interval=1s heartbeat-count=-2 use-reconnect-token compression-quality=1 stdin-control grace-period=3m grace-period=0s
pidfile=p no-prechecks no-autoupdate autoupdate-freq=1h is-autoupdated trace-output=t ui metrics=localhost:0
metrics-update-freq=1s loglevel=warning loglevel=trace loglevel=panic loglevel=disabled loglevel=DEBUG transport-loglevel=debug
proto-loglevel=debug
logfile=l log-directory=d output=json output=xml management-hostname=m.test management-diagnostics service-op-ip=127.0.0.1:80
url=localhost:8080 hello-world unix-socket=s socks5 proxy-address=0.0.0.0 proxy-port=1080 proxy-connect-timeout=1s
proxy-tls-timeout=1s proxy-tcp-keepalive=1s proxy-no-happy-eyeballs proxy-keepalive-connections=-1 proxy-keepalive-timeout=1s
http-host-header=h origin-server-name=h origin-ca-pool=/nonexistent no-tls-verify no-chunked-encoding http2-origin
proxy-connection-timeout=1s proxy-expect-continue-timeout=1s icmpv4-src=127.0.0.1 icmpv6-src=::1 max-active-flows=5
dns-resolver-addrs=127.0.0.1:53 api-url=http://h quick-service=http://h max-fetch-size=5 overwrite-dns f hostname=h.test
lb-pool=p api-key=k api-email=e api-ca-key=k proxy-dns proxy-dns-port=53 proxy-dns-address=x proxy-dns-upstream=x
proxy-dns-max-upstream-conns=4 proxy-dns-bootstrap=x local-ssh-port=22 ssh-idle-timeout=1s ssh-max-timeout=1s bucket-name=b
region-name=r secret-id=s access-key-id=a session-token=t s3-url-host=u host-key-path=x ssh-server origincert=x id=x label=x
tag=a=b features=x F=x name=n n=n token-file=/nonexistent credentials-file=/nonexistent cred-file=/x credentials-contents=x
"""
STOCK = _STOCK.split()
"""Every flag of stock's `tunnel` and `tunnel run` with a value that it starts with, each tried with the binary; --config and
--cacert name files that must be there."""


@pytest.mark.parametrize("before", [True, False], ids=["before run", "after run"])
@pytest.mark.parametrize("flag", STOCK)
def test_what_stock_takes_is_taken(flag: str, before: bool) -> None:
    name, _, value = flag.partition("=")
    given = [f"{'-' if len(name) == 1 else '--'}{name}", *([value] if value else [])]
    base = ["--token", token(), *([] if name == "edge" else ["--edge", "h:1"])]
    line = read_command_line(["tunnel", *(given if before else ()), "run", *base, *(() if before else given)])
    assert line.words == ("tunnel", "run")
    sources = gather(line, {})
    log_options(sources)
    warnings = read_options(sources).warnings
    assert sum("no effect" in warning for warning in warnings) <= 1


def test_every_flag_of_stock_is_tried() -> None:
    tried = {flag.partition("=")[0] for flag in STOCK} | {
        "token",
        "config",
        "cacert",
        "bastion",
        "allow-origins",
        "congestion",
        "edge-resolver",
        "role-probe",
        "role-probe-interval",
    }
    assert {name for flag in FLAGS for name in (flag.name, *flag.aliases)} == tried


def test_a_dead_flag_is_warned_about_once_and_its_secret_is_not_shown() -> None:
    line = read_command_line(["tunnel", "--session-token", "hunter2", "run", "--token", token(), "--edge", "h:1"])
    sources = gather(line, {"SECRET_ID": "another program's", "S3_URL": "http://x"})
    assert read_options(sources).warnings == ("--session-token has no effect in this version of qanat",)
    assert shown_settings(sources)["session-token"] == "*****"


def test_where_to_dial_from_is_taken_and_decides_the_version_as_stock() -> None:
    base = ("--token", token(), "--edge", "h:1")
    got = options(*base, TUNNEL_EDGE_IP_VERSION="6")
    assert (got.edge_ip_version, got.edge_bind_address) == ("6", None)
    got = options(*base, "--edge-bind-address", "127.0.0.1", "--edge-ip-version", "6")
    assert (got.edge_ip_version, got.edge_bind_address) == ("4", "127.0.0.1")
    assert got.warnings == ("--edge-ip-version is 6 and 127.0.0.1 is not: 4 is used",)
    assert options(*base, "--pq").post_quantum is True


def test_odd_numbers_do_what_stock_does() -> None:
    base = ("--token", token(), "--edge", "h:1")
    assert options(*base, "--ha-connections", "0").ha_connections == 1
    assert options(*base, "--ha-connections", "1000").ha_connections == 255
    assert options(*base, "--retries", "-1").retries > 1_000_000
    assert options(*base, "--dial-edge-timeout", "0s").dial_timeout_s == 15.0


def credentials(tunnel: str = TUNNEL) -> str:
    secret = base64.b64encode(bytes(32)).decode()
    return json.dumps({"AccountTag": "ab" * 16, "TunnelSecret": secret, "TunnelID": tunnel})


@pytest.mark.parametrize("way", ["flag", "variable", "file"])
def test_a_tilde_is_the_users_home(tmp_path: Path, way: str) -> None:
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds" / "t.json").write_text(credentials())
    (tmp_path / "c.yml").write_text("credentials-file: ~/creds/t.json\npidfile: ~/pid\nedge: h:1\n")
    home = str(tmp_path)
    if way == "flag":
        got = options("--credentials-file=~/creds/t.json", "--pidfile=~/pid", "--edge", "h:1", HOME=home)
    elif way == "variable":
        got = options("--edge", "h:1", HOME=home, TUNNEL_CRED_FILE="~/creds/t.json", TUNNEL_PIDFILE="~/pid")
    else:
        got = options("--config=~/c.yml", HOME=home)
    assert (got.credentials.tunnel_id, got.pidfile) == (TUNNEL, f"{home}/pid")


def test_every_other_path_may_begin_with_a_tilde(tmp_path: Path) -> None:
    home = str(tmp_path)
    (tmp_path / "token").write_text(token())
    got = options("--token-file=~/token", "--edge", "h:1", "--unix-socket=~/s", "--origin-ca-pool=~/p", HOME=home)
    assert got.local is not None
    assert got.local.rules[0].service.target == f"{home}/s"
    assert got.local.rules[0].origin.ca_pool == f"{home}/p"
    log = logged("--logfile=~/l", HOME=home)
    assert log.file == f"{home}/l"
    assert refusal("--token", token(), "--edge", "h:1", "--cacert=~/c", HOME=home).where == f"--cacert {home}/c"


def test_a_tunnels_credentials_are_found_where_stock_looks_for_them(tmp_path: Path) -> None:
    folder = tmp_path / ".cloudflared"
    folder.mkdir()
    (folder / f"{TUNNEL}.json").write_text(credentials())
    file = tmp_path / "c.yml"
    file.write_text(f"tunnel: {TUNNEL}\nedge: h:1\n")
    assert options("--config", str(file), HOME=str(tmp_path)).credentials.tunnel_id == TUNNEL
    assert options("--edge", "h:1", TUNNEL, HOME=str(tmp_path)).credentials.tunnel_id == TUNNEL
    error = refusal("--edge", "h:1", OTHER, HOME=str(tmp_path))
    assert error.code == "credentials_file_invalid"
    assert f"{OTHER}.json" in error.message
    beside = tmp_path / ".cloudflare-warp"
    beside.mkdir()
    (beside / "cert.pem").write_text("")
    (beside / f"{TUNNEL}.json").write_text("{}")
    assert refusal("--edge", "h:1", TUNNEL, HOME=str(tmp_path)).where == f"tunnel run {beside / TUNNEL}.json"
    (folder / f"{TUNNEL}.json").rename(tmp_path / f"{TUNNEL}.json")
    certificate = tmp_path / "cert.pem"
    assert options("--edge", "h:1", TUNNEL, "--origincert", str(certificate)).credentials.tunnel_id == TUNNEL
