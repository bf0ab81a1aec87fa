"""`qanat requests …` with a real connector: what passes of a hostname is shown while somebody wants to see it, secrets never."""

import json
from pathlib import Path

import pytest

from tests.support.fixtures import quic_only
from tests.support.shell import Shell
from tests.support.sites import Site
from tests.support.waiting import wait_until


@pytest.fixture
def shell(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("QANAT_API", str(site.edge.ready["api"]))
    monkeypatch.setenv("QANAT_API_TOKEN_FILE", str(site.edge.data_dir / "first-token"))
    return Shell(capsys)


@quic_only
def test_requests_are_listed_filtered_and_forgotten(site: Site, shell: Shell) -> None:
    shell("requests", "show", site.hostname, expect=3)
    assert "are listed until" in shell("requests", "start", site.hostname, "--minutes", "5", "--most", "100")
    assert "no request has ended yet" in shell("requests", "show", site.hostname)

    def is_listed() -> bool:
        """An edge lists once it has heard of it."""
        assert site.get("/first").status == 200
        return bool(shell.json("requests", "show", site.hostname, "--path", "/first"))

    wait_until(is_listed, "a request that is listed")
    site.origin.on("/gone", lambda exchange: exchange.answer(404, b"", ()))
    paths = ["/a?token=S3CRET", "/b", "/gone"]
    for path in paths:
        site.get(path, [("cookie", "a=S3CRET")])
    wait_until(lambda: shell.json("requests", "show", site.hostname, "--path", "/gone"), "the last of them")
    shown = shell("requests", "show", site.hostname)
    header, *rows = [line for line in shown.splitlines() if line.strip()]
    assert header.split()[:5] == ["AT", "STATUS", "METHOD", "PATH", "FROM"]
    assert [row.split()[3] for row in rows if "/first" not in row] == ["/a?token=*", "/b", "/gone"], "the newest last"
    assert all(row.split()[4] == "127.0.0.1" for row in rows)
    assert all("ms" in row for row in rows)
    listed = shell.json("requests", "show", site.hostname)
    assert "S3CRET" not in shown + json.dumps(listed)
    assert {each["request_id"] for each in listed} == {row.split()[-1] for row in rows}

    def found(*filters: str) -> set[str]:
        return {each["path"] for each in shell.json("requests", "show", site.hostname, *filters)}

    assert found("--status", "404") == found("--status", "4xx") == found("--status", "400-499") == {"/gone"}
    assert found("--path", "b", "--method", "GET") == {"/b"}
    assert found("--method", "POST") == set()
    assert found("--address", "127.0.0.0/8") >= {"/a", "/b", "/gone"}
    assert found("--address", "192.0.2.0/24") == set()
    assert found("--limit", "1") == {"/gone"}
    (line,) = [line for line in shell("requests", "list").splitlines() if site.hostname in line]
    assert line.split()[1] == "on"
    assert "not listed any more" in shell("requests", "stop", site.hostname)
    shell("requests", "show", site.hostname, expect=3)
    assert site.hostname not in shell("requests", "list")


@quic_only
def test_a_mistake_is_told_with_what_is_right(site: Site, shell: Shell) -> None:
    for arguments, status, told in (
        (("start", "nobody.other.test"), 3, "nobody.other.test"),
        (("start", site.hostname, "--minutes", "61"), 1, "60"),
        (("start", site.hostname, "--most", "0"), 1, "2000"),
        (("stop", site.hostname), 3, site.hostname),
    ):
        shell("requests", *arguments, expect=status)
        assert told in shell.err, (arguments, shell.err)
    shell("requests", "start", site.hostname)
    for filters, told in ((("--status", "ok"), "5xx"), (("--address", "home"), "home")):
        shell("requests", "show", site.hostname, *filters, expect=1)
        assert told in shell.err, (filters, shell.err)
    shell("requests", "stop", site.hostname)
