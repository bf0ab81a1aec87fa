"""`tunnel login`: cert.pem by an API token, or from a page; and which of cert.pem and API token a command goes by."""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from qanat.cli.main import main
from qanat.cli.stock import browser
from qanat.cli.stock.certificate import Certificate, decode, encode
from qanat.errors import QanatError
from tests.support.control import Control, running_control
from tests.support.dashboard import visitor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".cloudflared"


def test_a_certificate_by_an_api_token_is_all_that_later_commands_need(
    at_control: Control, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_control.create_zone("one.example")
    at_control.create_zone("two.example")
    assert main(["tunnel", "login"]) == 1
    assert "--zone" in (said := capsys.readouterr().err)
    assert "one.example" in said
    assert not folder.joinpath("cert.pem").exists()
    assert main(["tunnel", "login", "--zone", "one.example"]) == 0
    written = folder / "cert.pem"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert decode(written.read_text()).api_url == at_control.url
    monkeypatch.delenv("QANAT_API")
    monkeypatch.delenv("QANAT_API_TOKEN_FILE")
    assert main(["tunnel", "create", "web"]) == 0
    shown = capsys.readouterr()
    assert f"Tunnel credentials written to {folder}/" in shown.out
    (credentials,) = folder.glob("*.json")
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o400
    assert set(json.loads(credentials.read_text())) == {"AccountTag", "TunnelSecret", "TunnelID", "Endpoint"}
    assert main(["tunnel", "login"]) == 0, "as stock: one that is there is kept, and said to be"
    assert "existing certificate" in capsys.readouterr().err
    assert main(["tunnel", "delete", "web"]) == 0
    assert not credentials.exists()


def test_an_api_token_that_is_named_wins_over_a_certificate_that_lies_around(
    at_control: Control, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / "cert.pem").write_text(encode(Certificate("0" * 32, "1" * 32, "x" * 40, api_url="http://127.0.0.1:1")))
    assert main(["tunnel", "create", "web"]) == 0
    assert list(folder.glob("*.json")) == [], "no secret is left where nobody asked for it"
    file = tmp_path / "web.json"
    assert main(["tunnel", "create", "other", "--credentials-file", str(file)]) == 0
    assert file.exists()
    assert main(["tunnel", "create", "again", "--credentials-file", str(file)]) == 1
    assert "The tunnel was deleted" in capsys.readouterr().err
    tunnels = at_control.call("GET", f"/accounts/{at_control.account}/cfd_tunnel", is_deleted="false")
    assert sorted(row["name"] for row in tunnels) == ["other", "web"]
    assert main(["tunnel", "--origincert", str(folder / "cert.pem"), "list"]) == 1, "what is named on the line wins"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot decode empty certificate"),
        ("nonsense", "missing token in the certificate"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n", "unknown block RSA PRIVATE KEY"),
        ("-----BEGIN ARGO TUNNEL TOKEN-----\nAA==\n-----END ARGO TUNNEL TOKEN-----\n", "missing token"),
        (2 * encode(Certificate("0" * 32, "1" * 32, "x" * 40)), "multiple tokens"),
    ],
)
def test_a_file_that_is_no_certificate_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(QanatError) as refused:
        decode(text)
    assert said in refused.value.message


class Store(BaseHTTPRequestHandler):
    """Where a page leaves a certificate: not there the first time it is asked for."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = encode(Certificate("0" * 32, "1" * 32, "x" * 40)).encode() if self.asked > 1 else b""
        self.send_response(200 if body else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_a_certificate_that_a_page_leaves_is_fetched(
    store: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(browser, "PAUSE_S", 0.01)
    page = "https://edge.example/login"
    assert main(["tunnel", "login", "--loginURL", page, "--callbackURL", store]) == 0
    said = capsys.readouterr().err
    assert f"{page}?callback=http%3A%2F%2F127.0.0.1" in said
    assert "Waiting for login..." in said
    assert decode((folder / "cert.pem").read_text()).api_token == "x" * 40


def test_update_says_how_and_ends_as_stock_does_where_a_package_manager_installed_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["update", "--version", "9.9"]) == 0
    assert "Please update using the same method" in capsys.readouterr().err
    assert main(["update", "--version", "newest"]) == 10
    assert "'newest' is not a version" in capsys.readouterr().err
    assert main(["update", "--nonsense"]) == 255


def test_the_version_is_the_third_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert main(["version", "-s"]) == 0
    long, short = capsys.readouterr().out.splitlines()
    assert long.split()[2] == short


def test_a_certificate_is_allowed_on_the_page_of_the_edge_whose_api_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    with running_control(tmp_path, dashboard=True) as control:
        zone = control.create_zone("one.example")
        base = control.url.removesuffix("/client/v4")

        def allow(url: str, _what: str) -> None:
            shown.append(url)
            (callback,) = parse_qs(urlsplit(url).query)["callback"]
            user = visitor(control)
            with user.http:
                user.sign_in()
                assert user.post("/argotunnel", zone=zone["id"], callback=callback).status_code == 200

        monkeypatch.setattr(browser, "show", allow)
        monkeypatch.setenv("QANAT_API", control.url)
        assert main(["tunnel", "login"]) == 0
        (folder / "cert.pem").rename(tmp_path / "first.pem")
        monkeypatch.delenv("QANAT_API")
        assert main(["tunnel", "login", "--loginURL", f"{base}/argotunnel"]) == 0
        assert all(each.startswith(f"{base}/argotunnel?callback=") for each in shown)
        for file in (tmp_path / "first.pem", folder / "cert.pem"):
            assert decode(file.read_text()).api_url == control.url
        assert main(["tunnel", "list"]) == 0, "it names its API"
