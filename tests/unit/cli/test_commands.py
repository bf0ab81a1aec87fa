import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qanat.cli.main import EXIT_STATUSES
from qanat.errors import QanatError
from tests.support.control import Control
from tests.support.failed import failed_request
from tests.support.links import register
from tests.support.shell import Shell


@pytest.fixture
def shell(at_control: Control, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


# ------------------------------------------------------------ tokens


def test_a_token_for_one_zone(shell: Shell, at_control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("zone", "create", "example.test")
    shell("zone", "create", "other.test")
    value = shell(
        "token", "create", "ci", "--allow", "zone.read", "--allow", "dns.edit", "--allow", "tunnel.read",
        "--zone", "example.test", "--expires-on", "2099-01-01T00:00:00Z", "--from", "127.0.0.0/8",
    )  # fmt: skip
    assert value.startswith("qnt_")
    assert value.count("\n") == 1, "the value alone, so that it can go into a file"
    assert "made token ci" in shell.err
    (listed,) = [each for each in shell.json("token", "list") if each["name"] == "ci"]
    assert listed["expires_on"] == "2099-01-01T00:00:00.000000Z"
    assert listed["condition"]["request_ip"] == {"in": ["127.0.0.0/8"]}
    monkeypatch.delenv("QANAT_API_TOKEN_FILE")
    monkeypatch.setenv("QANAT_API_TOKEN", value.strip())
    assert [zone["name"] for zone in shell.json("zone", "list")] == ["example.test"]
    assert shell.json("token", "verify")["status"] == "active"
    shell("record", "create", "a.example.test", "--type", "A", "--content", "192.0.2.1")
    shell("record", "create", "a.other.test", "--type", "A", "--content", "192.0.2.1", expect=3)
    shell("token", "list", expect=1)


def test_a_token_is_disabled_enabled_rolled_and_deleted(shell: Shell, at_control: Control) -> None:
    value = shell.json("token", "create", "ci", "--allow", "zone.read")["value"]
    headers = {"authorization": f"Bearer {value}"}

    def works() -> bool:
        return at_control.http.get("/zones", headers=headers).status_code == 200

    assert works()
    assert "disabled" in shell("token", "disable", "ci")
    assert not works()
    shell("token", "enable", "ci")
    assert works()
    rolled = shell("token", "roll", "ci").strip()
    assert not works()
    headers["authorization"] = f"Bearer {rolled}"
    assert works()
    shell("token", "delete", "ci")
    assert not works()
    shell("token", "delete", "ci", expect=3)


def test_tokens_that_an_account_owns(shell: Shell) -> None:
    shell("token", "create", "robot", "--allow", "dns.edit", "--owned")
    assert "robot" in shell("token", "list", "--owned")
    assert "robot" not in shell("token", "list")
    shell("token", "delete", "robot", "--owned")


def test_a_token_that_an_account_owns_makes_another(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    allow = ("--allow", "token.edit", "--allow", "account.read", "--allow", "dns.edit")
    value = shell("token", "create", "robot", *allow, "--owned").strip()
    monkeypatch.delenv("QANAT_API_TOKEN_FILE")
    monkeypatch.setenv("QANAT_API_TOKEN", value)
    assert shell("token", "create", "child", "--allow", "dns.edit", "--owned").startswith("qnt_")


def test_wrong_permissions_are_told(shell: Shell) -> None:
    shell("token", "create", "x", "--allow", "dns.wirte", expect=3)
    assert "dns.edit" in shell.err
    shell("token", "create", "x", expect=2)
    shell("token", "create", "x", "--everything", "--zone", "example.test", expect=2)
    shell("token", "create", "x", "--allow", "dns.edit", "--zone", "none.test", expect=3)
    known = shell.json("token", "permissions")
    assert {"DNS Write", "Zone Read", "Cloudflare Tunnel Write"} <= {group["name"] for group in known}
    assert "dns.edit" in shell("token", "permissions")
    value = shell("token", "create", "all", "--everything").strip()
    assert len(value) == 40


# ------------------------------------------------------------ zones and records


def test_weights_are_set_shown_and_taken_away(shell: Shell, at_control: Control) -> None:
    shell("zone", "create", "example.test")
    web, canary = (at_control.create_tunnel(name)["id"] for name in ("web", "canary"))
    shell("record", "create", "app.example.test", "--tunnel", "web")
    assert "95" in shell("record", "weights", "app.example.test", "web=95", f"{canary}=5", "--sticky", "cookie")
    told = shell("record", "weights", "app.example.test")
    assert "sticky by cookie" in told
    shown = shell.json("record", "weights", "app.example.test")
    assert {each["tunnel_id"]: each["percent"] for each in shown["targets"]} == {web: 95.0, canary: 5.0}
    shell("record", "weights", "app.example.test", "web", expect=2)
    shell("record", "weights", "app.example.test", "web=1", "--clear", expect=2)
    shell("record", "weights", "app.example.test", "web=1", "none=1", expect=3)
    register(at_control.store, web, str(uuid4()))
    shell("record", "weights", "app.example.test", "web=50", "canary=50", expect=1)
    assert "would not serve it" in shell.err
    shell("record", "weights", "app.example.test", "web=50", "canary=50", "--cutover-policy", "off")
    assert shell.json("record", "weights", "app.example.test", "--clear")["is_split"] is False


def test_zones(shell: Shell, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    assert "paused" in shell("zone", "pause", "example.test")
    assert "paused" in shell("zone", "list")
    assert "active" in shell("zone", "resume", "example.test")
    assert "example.test" in shell("zone", "show", "example.test")
    shell("zone", "show", "sub.example.test", expect=3)
    shell("zone", "delete", "sub.example.test", "--yes", expect=3)
    shell("zone", "delete", "example.test", "--yes")


def test_a_certificate_is_written_once_for_its_owner_alone(shell: Shell, at_control: Control, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    file = tmp_path / "cert.pem"
    printed = shell("zone", "certificate", "example.test", "--file", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert text.startswith("-----BEGIN ARGO TUNNEL TOKEN-----")
    assert text not in printed
    tokens = len(at_control.call("GET", "/user/tokens"))
    shell("zone", "certificate", "example.test", "--file", str(file), expect=1)
    assert "not overwritten" in shell.err
    assert file.read_text() == text
    assert len(at_control.call("GET", "/user/tokens")) == tokens, "no token is made that nobody gets"


def test_records(shell: Shell, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    shell("tunnel", "create", "web")
    shell("record", "create", "app.example.test", "--tunnel", "web", "--comment", "hi", "--tag", "a:b")
    shell(
        "record",
        "create",
        "@",
        "--zone",
        "example.test",
        "--type",
        "mx",
        "--content",
        "m.example.test",
        "--priority",
        "5",
    )
    data = '{"flags":0,"tag":"issue","value":"ca.test"}'
    shell("record", "create", "example.test", "--type", "CAA", "--data", data)
    (caa,) = shell.json("record", "list", "example.test", "--type", "caa")
    assert caa["content"] == '0 issue "ca.test"'
    shell("record", "change", "app.example.test", "--comment", "ho")
    (app,) = shell.json("record", "list", "example.test", "--name", "app.example.test")
    assert (app["comment"], app["tags"], app["proxied"]) == ("ho", ["a:b"], True)
    shell("record", "create", "t.example.test", "--type", "TXT", "--content", "one")
    shell("record", "create", "t.example.test", "--type", "TXT", "--content", "two")
    shell("record", "delete", "t.example.test", expect=1)
    assert "2 records" in shell.err
    shell("record", "delete", "none.example.test", expect=3)
    shell("record", "delete", "example.test", "--type", "CAA")
    shell("record", "change", "app.example.test", expect=2)
    shell("record", "create", "x.example.test", "--type", "A", "--data", "{", expect=2)
    shell("record", "create", "x.example.test", "--type", "A", "--data", "[]", expect=2)


def test_a_batch_is_one_transaction(shell: Shell, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    file = tmp_path / "batch.json"
    good = {"type": "A", "name": "a", "content": "192.0.2.1"}
    file.write_text(json.dumps({"posts": [good, {**good, "content": "no"}]}))
    shell("record", "batch", "example.test", str(file), expect=1)
    assert shell.json("record", "list", "example.test") == []
    file.write_text(json.dumps({"posts": [good]}))
    assert "a.example.test" in shell("record", "batch", "example.test", str(file))
    file.write_text("[]")
    shell("record", "batch", "example.test", str(file), expect=1)
    shell("record", "batch", "example.test", str(tmp_path / "none"), expect=1)


def test_a_zone_file_goes_out_and_comes_in(shell: Shell, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    shell("record", "create", "a.example.test", "--type", "A", "--content", "192.0.2.1", "--ttl", "300")
    file = tmp_path / "zone.txt"
    shell("record", "export", "example.test", str(file))
    assert "192.0.2.1" in file.read_text()
    assert "192.0.2.1" in shell("record", "export", "example.test")
    shell("record", "export", "example.test", str(file), expect=1)
    shell("record", "delete", "a.example.test")
    done = shell.json("record", "import", "example.test", str(file))
    assert done["recs_added"] >= 1
    assert [each["content"] for each in shell.json("record", "list", "example.test", "--type", "A")] == ["192.0.2.1"]


# ------------------------------------------------------------ tunnels


def test_configurations_have_a_history(shell: Shell, tmp_path: Path) -> None:
    shell("tunnel", "create", "web")
    file = tmp_path / "config.json"
    for code in (404, 503):
        file.write_text(json.dumps({"ingress": [{"service": f"http_status:{code}"}]}))
        shell("tunnel", "config", "put", "web", str(file))
    assert json.loads(shell("tunnel", "config", "show", "web"))["version"] == 2
    assert json.loads(shell("tunnel", "config", "show", "web", "--version", "1"))["config"]["ingress"] == [
        {"service": "http_status:404"}
    ]
    assert [each["version"] for each in shell.json("tunnel", "config", "versions", "web")] == [2, 1]
    assert "AUTHOR" in shell("tunnel", "config", "versions", "web")
    assert "'http_status:404' → 'http_status:503'" in shell("tunnel", "config", "diff", "web", "1")
    assert "the same" in shell("tunnel", "config", "diff", "web", "1", "1")
    shell("tunnel", "config", "rollback", "web", "1")
    assert json.loads(shell("tunnel", "config", "show", "web"))["version"] == 3
    shell("tunnel", "config", "rollback", "web", "99", expect=3)
    file.write_text("{")
    shell("tunnel", "config", "put", "web", str(file), expect=1)


def test_connector_tokens(shell: Shell) -> None:
    shell("tunnel", "create", "web")
    made = shell("tunnel", "connector-token", "create", "web", "host1").strip()
    assert made.startswith("eyJ")
    assert "\n" not in made
    assert shell("tunnel", "connector-token", "show", "web", "host1").strip() == made
    assert made != shell("tunnel", "token", "web").strip()
    rotated = shell("tunnel", "connector-token", "rotate", "web", "host1").strip()
    assert rotated != made
    listed = shell("tunnel", "connector-token", "list", "web")
    assert "host1" in listed
    assert rotated not in listed
    shell("tunnel", "connector-token", "revoke", "web", "host1")
    shell("tunnel", "connector-token", "revoke", "web", "host1", expect=3)
    assert "revoked" in shell("tunnel", "connector-token", "list", "web")


def test_a_hostname_is_routed(shell: Shell) -> None:
    shell("zone", "create", "example.test")
    shell("tunnel", "create", "web")
    shell("tunnel", "route", "dns", "web", "app.example.test")
    assert "Added CNAME app.example.test which will route to this tunnel" in shell.err
    shell("tunnel", "route", "dns", "web", "app.example.test")
    assert "is already configured to route to your tunnel" in shell.err
    shell("tunnel", "create", "other")
    shell("tunnel", "route", "dns", "other", "app.example.test", expect=1)
    shell("tunnel", "route", "dns", "other", "app.example.test", "--overwrite")
    assert "app.example.test updated to route to your tunnel" in shell.err


def test_a_tunnel_is_renamed_and_cleaned_up(shell: Shell) -> None:
    shell("tunnel", "create", "web")
    assert "named site" in shell("tunnel", "rename", "web", "site")
    shell("tunnel", "cleanup", "site")
    shell("tunnel", "delete", "site")
    assert "site" in shell("tunnel", "list", "--deleted")


def test_explain(shell: Shell, at_control: Control) -> None:
    shell("zone", "create", "example.test")
    shell("tunnel", "create", "web")
    shell("tunnel", "route", "dns", "web", "app.example.test")
    assert "web" in shell("explain", "https://app.example.test/x")
    assert shell("explain", "app.example.test/x")
    shell("explain", "0123456789abcdef-lab01", expect=3)
    tunnel_id = shell.json("tunnel", "list")[0]["id"]
    at_control.edge.failed["0123456789abcdef-lab01"] = failed_request(tunnel_id=tunnel_id)
    told = shell("explain", "0123456789abcdef-lab01")
    assert "no_connection" in told
    assert "1.0 ms" in told
    assert shell.json("explain", "0123456789abcdef-lab01")["hops"][0]["hop"] == "edge"


def test_https_only_hsts_and_error_pages_of_a_zone(shell: Shell, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    assert "off" in shell("zone", "https", "example.test")
    shell("zone", "https", "example.test", "--not-always", "--hsts-max-age", "600", "--subdomains")
    told = shell.json("zone", "https", "example.test")
    assert told["always_use_https"] == "off"
    hsts = told["security_header"]["strict_transport_security"]
    assert (hsts["enabled"], hsts["max_age"], hsts["include_subdomains"]) == (True, 600, True)
    shell("zone", "https", "example.test", "--preload", expect=2)
    shell("zone", "https", "example.test", "--no-hsts")
    assert not shell.json("zone", "https", "example.test")["security_header"]["strict_transport_security"]["enabled"]
    page = tmp_path / "away.html"
    page.write_text("<p>::RAY_ID::</p>")
    shell("zone", "error-page", "example.test", "1000_errors", "--file", str(page))
    assert [each["content"] for each in shell.json("zone", "error-page", "example.test")] == [None, page.read_text()]
    shell("zone", "error-page", "example.test", "1000_errors", "--file", str(tmp_path / "none"), expect=1)
    shell("zone", "error-page", "example.test", "1000_errors", "--default")
    assert "the edge's" in shell("zone", "error-page", "example.test", "1000_errors")


# ------------------------------------------------------------ accounts


def test_accounts(shell: Shell) -> None:
    shell("account", "create", "second")
    shell("account", "rename", "second", "zweites")
    assert "zweites" in shell("account", "list")
    shell("tunnel", "list", expect=1)
    assert "several accounts" in shell.err
    shell("tunnel", "create", "web", "--account", "zweites")
    shell("account", "delete", "zweites", "--yes", expect=1)
    shell("tunnel", "delete", "web", "--account", "zweites")
    shell("account", "delete", "zweites", "--yes")
    shell("account", "delete", "zweites", "--yes", expect=3)


def test_an_account_goes_into_a_file_and_comes_back(
    shell: Shell, at_control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("tunnel", "create", "web")
    shell("zone", "create", "example.test")
    shell("record", "create", "app.example.test", "--tunnel", "web")
    token = shell("tunnel", "token", "web").strip()
    bare, file, phrase = tmp_path / "bare.json", tmp_path / "account.json", tmp_path / "phrase"
    phrase.write_text("a good long passphrase ü\n")
    assert "no secrets" in shell("account", "export", str(bare))
    shell("account", "export", str(file), "--secrets", "--passphrase-file", str(phrase))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shell("account", "export", str(file), expect=1)
    assert "good long" not in file.read_text()
    shell("tunnel", "delete", "web", "--force")
    plan = shell("account", "import", str(file), "--passphrase-file", str(phrase))
    assert "dry run" in plan
    assert "comes back" in plan
    shell("tunnel", "token", "web", expect=1)
    monkeypatch.setenv("QANAT_PASSPHRASE", "a good long passphrase ü")
    assert "done" in shell("account", "import", str(file), "--apply")
    assert shell("tunnel", "token", "web").strip() == token
    assert "nothing to do" in shell("account", "import", str(file))
    monkeypatch.setenv("QANAT_PASSPHRASE", "some other passphrase")
    shell("account", "import", str(file), expect=1)
    assert "passphrase" in shell.err
    taken = json.loads(bare.read_text())
    taken["tunnels"][0]["id"] = "11111111-2222-3333-4444-555555555555"
    bare.write_text(json.dumps(taken))
    assert "conflict" in shell("account", "import", str(bare), expect=1)
    shell("account", "import", str(bare), "--apply", expect=1)
    bare.write_text("{}")
    shell("account", "import", str(bare), expect=1)


# ------------------------------------------------------------ audit and backups


def test_the_audit_log(shell: Shell, at_control: Control, tmp_path: Path) -> None:
    shell("tunnel", "create", "web")
    shell("zone", "create", "example.test")
    rows = shell.json("audit", "list", "--limit", "2")
    assert [row["action"] for row in rows] == ["zone.create", "tunnel.create"]
    assert len(shell.json("audit", "list", "--action", "tunnel", "--since", "2020-01-01T00:00:00Z")) == 1
    assert "tunnel.create" in shell("audit", "list")
    assert "is whole" in shell("audit", "verify")
    file = tmp_path / "audit.jsonl"
    shell("audit", "export", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["action"] == "zone.create"
    shell("audit", "export", str(file), expect=1)
    shell("audit", "list", "--since", "yesterday", expect=1)


def test_verify_ends_with_1_and_names_the_row(shell: Shell, at_control: Control) -> None:
    from tests.unit.api.test_own_audit import tamper

    tamper(at_control, "UPDATE audit SET actor = 'me' WHERE seq = 2")
    assert "broken at row 2" in shell("audit", "verify", expect=1)
    assert shell.json("audit", "verify", expect=1)["first_broken"] == 2


def test_a_long_audit_log_is_read_in_pages(shell: Shell, at_control: Control) -> None:
    zone = at_control.create_zone()
    at_control.call(
        "POST",
        f"/zones/{zone['id']}/dns_records/batch",
        {"posts": [{"type": "TXT", "name": f"n{n}", "content": "x"} for n in range(5)]},
    )
    for number in range(5):
        at_control.create_tunnel(f"t{number}")
    every = shell.json("audit", "list", "--limit", "100000")
    assert [row["seq"] for row in every] == list(range(every[0]["seq"], 0, -1))
    assert shell.json("audit", "list", "--limit", "3") == every[:3]


def test_a_backup_is_whole_or_not_there(shell: Shell, at_control: Control, tmp_path: Path) -> None:
    shell("tunnel", "create", "web")
    file = tmp_path / "backup.db"
    done = shell.json("backup", "create", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert done["bytes"] == file.stat().st_size
    assert shell.json("backup", "verify", str(file))["tunnels"] == 1
    shell("backup", "create", str(file), expect=1)
    file.write_bytes(file.read_bytes()[:5000])
    shell("backup", "verify", str(file), expect=1)
    shell("backup", "verify", str(tmp_path / "none"), expect=1)


def test_a_stream_that_is_cut_leaves_no_file(tmp_path: Path) -> None:
    from collections.abc import Iterator

    from qanat.cli.files import stream_to

    def pieces() -> Iterator[bytes]:
        yield b"x" * 1000
        raise QanatError("api_unreachable", "cut")

    with pytest.raises(QanatError):
        stream_to(tmp_path / "backup.db", pieces())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["backup", "create"], ["zone", "certificate", "example.test", "--file"]])
def test_a_file_that_can_not_be_is_told(command: list[str], shell: Shell, tmp_path: Path) -> None:
    shell("zone", "create", "example.test")
    shell(*command, str(tmp_path / ("x" * 300)), expect=1)
    assert "file_unwritable" in shell.err


def test_the_key_is_rotated(shell: Shell, at_control: Control) -> None:
    shell("tunnel", "create", "web")
    token = shell("tunnel", "token", "web")
    done = shell.json("edge", "rotate-key")
    assert done["secrets"] >= 1
    assert "secrets under the new key" in shell("edge", "rotate-key")
    assert shell("tunnel", "token", "web") == token


@pytest.mark.parametrize("phrase", [" leads and ends in zebra", "two\nlines and a zebra", "a bell \x07 and a zebra"])
def test_a_passphrase_that_can_not_be_sent_is_told_and_not_shown(shell: Shell, tmp_path: Path, phrase: str) -> None:
    file = tmp_path / "phrase"
    file.write_text(phrase)
    shell("account", "export", str(tmp_path / "a.json"), "--secrets", "--passphrase-file", str(file), expect=2)
    assert "passphrase" in shell.err
    assert "zebra" not in shell.err


def test_a_long_row_stays_one_line_where_nobody_looks(shell: Shell) -> None:
    shell("zone", "create", "example.test")
    long = "x" * 2000
    shell("record", "create", "long.example.test", "--type", "TXT", "--content", long)
    assert len(shell("record", "list", "example.test").splitlines()) == 2


# ------------------------------------------------------------ all of it


def test_exit_statuses_are_documented(shell: Shell) -> None:
    assert set(EXIT_STATUSES) == {0, 1, 2, 3, 4}


def test_no_command_takes_a_secret_as_a_flags_value(shell: Shell) -> None:
    import typer

    from qanat.cli.main import app

    def walk(command: Any, path: str) -> None:
        for parameter in command.params:
            for name in parameter.opts:
                lowered = name.lower()
                is_secret = any(word in lowered for word in ("secret", "passphrase", "password", "key"))
                is_secret = is_secret or lowered in ("--token", "--api-token", "--value")
                assert not is_secret or lowered.endswith("-file") or parameter.is_flag or path == "edge", (path, name)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}".strip())

    walk(typer.main.get_command(app), "")


def test_secrets_are_in_no_url_and_no_log(
    shell: Shell, at_control: Control, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("QANAT_PASSPHRASE", "a-secret-passphrase")
    shell("tunnel", "create", "web")
    secrets = [
        at_control.token,
        "a-secret-passphrase",
        shell("tunnel", "token", "web").strip(),
        shell("token", "create", "x", "--allow", "dns.edit").strip(),
    ]
    shell("account", "export", str(tmp_path / "a.json"), "--secrets")
    shell("account", "import", str(tmp_path / "a.json"), "--apply")
    shell("audit", "export", str(tmp_path / "audit"))
    texts = [
        " ".join(
            str(record.__dict__) for record in caplog.records if not record.name.startswith(("httpcore", "asyncio"))
        ),
        (tmp_path / "audit").read_text(),
        shell("audit", "list", "--limit", "1000"),
        shell("status"),
    ]
    for secret in secrets:
        for text in texts:
            assert secret not in text
