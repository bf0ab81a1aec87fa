"""cases.md 62: a token that isn't quite a token is refused before anything is dialled, and never printed."""

import base64
import json
from pathlib import Path

import pytest

from tests.support.edge import Edge
from tests.support.processes import QANAT, Process

pytestmark = pytest.mark.case(62)

SECRET = base64.b64encode(bytes(range(32))).decode()
DOCUMENT = {"a": "0123456789abcdef0123456789abcdef", "t": "11111111-2222-3333-4444-555555555555", "s": SECRET}
TOKEN = base64.b64encode(json.dumps(DOCUMENT).encode()).decode()
API_ANSWER = json.dumps({"success": True, "errors": [], "messages": [], "result": TOKEN})
CREDENTIALS = json.dumps({"AccountTag": DOCUMENT["a"], "TunnelSecret": SECRET, "TunnelID": DOCUMENT["t"]})

BAD = {
    "in quotes": (f'"{TOKEN}"', "quote"),
    "with a name": (f"token={TOKEN}", "token="),
    "cut by one": (TOKEN.rstrip("=")[:-1], ""),
    "an API answer": (API_ANSWER, "result"),
    "a credentials file": (CREDENTIALS, "credentials"),
    "empty": ("", ""),
    "blank": ("  \n", ""),
    "not base64": ("hello world!", ""),
    "base64 of nothing useful": (base64.b64encode(b"hello").decode(), ""),
    "no secret": (base64.b64encode(json.dumps({**DOCUMENT, "s": ""}).encode()).decode(), ""),
}


def run(*arguments: str, env: dict[str, str] | None = None) -> Process:
    return Process("connector", [*QANAT, "tunnel", "run", "--edge", "127.0.0.1:9", *arguments], env)


@pytest.mark.parametrize("way", ["--token", "TUNNEL_TOKEN", "--token-file"])
@pytest.mark.parametrize("name", BAD)
def test_bad_token_is_refused_at_once(folder: Path, name: str, way: str) -> None:
    text, hint = BAD[name]
    if way == "--token-file":
        (folder / "token").write_text(text)
        process = run("--token-file", str(folder / "token"))
    elif way == "--token":
        process = run("--token", text)
    else:
        process = run(env={"TUNNEL_TOKEN": text})
    assert process.wait() != 0
    said = process.log() + "\n".join(process.out)
    assert "token" in said.lower()
    assert hint in said
    assert SECRET not in said and TOKEN[:40] not in said, "the token was printed"
    assert "Traceback" not in said
    assert "Registered" not in said
    assert "Retrying" not in said


@pytest.mark.parametrize("name", ["trailing newline", "CR LF", "unpadded", "blanks around"])
def test_white_space_and_padding_are_tolerated(edge: Edge, folder: Path, name: str) -> None:
    tunnel = edge.api.create_tunnel(f"case 62 {name} {folder.name}")
    edge.api.put_configuration(tunnel.id, [{"service": "http_status:404"}])
    token = {
        "trailing newline": tunnel.token + "\n",
        "CR LF": tunnel.token + "\r\n",
        "unpadded": tunnel.token.rstrip("="),
        "blanks around": f"  {tunnel.token}\t\n",
    }[name]
    (folder / "token").write_bytes(token.encode())
    process = Process(
        "connector",
        [
            *QANAT,
            "tunnel",
            "run",
            "--edge",
            edge.tunnel,
            "--cacert",
            str(edge.ca_file),
            "--metrics",
            "127.0.0.1:0",
            "--ha-connections",
            "1",
            "--token-file",
            str(folder / "token"),
        ],
    )
    process.wait_for("Registered tunnel connection")
    process.stop()


@pytest.mark.parametrize("what", ["missing", "a directory"])
def test_unreadable_token_file_is_named(folder: Path, what: str) -> None:
    path = folder if what == "a directory" else folder / "nothing"
    process = run("--token-file", str(path))
    assert process.wait() != 0
    assert str(path) in process.log()
    assert "Traceback" not in process.log()


def test_token_wins_over_token_file(folder: Path) -> None:
    (folder / "token").write_text("nonsense")
    process = run("--token-file", str(folder / "token"), "--token", TOKEN, "--metrics", "127.0.0.1:0")
    process.wait_for(DOCUMENT["t"])
    process.kill()


def test_no_token_at_all_says_what_to_give() -> None:
    process = run()
    assert process.wait() != 0
    assert "--token" in process.log()
