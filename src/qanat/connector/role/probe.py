"""What says whether this host is active or standby: a command, a file, an HTTP answer, or a PostgreSQL server."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from qanat.connector.sources import Sources
from qanat.deadline import Deadline

Role = Literal["active", "standby", "unknown"]
FLAG = "role-probe"
HINT = "write exec:/path/to/command, file:/path, http://127.0.0.1:8008/primary or postgres:///postgres"

TIMEOUT_S = 5.0
LONGEST_FILE = 4096
LONGEST_DETAIL = 200
SHORTEST_INTERVAL_S = 0.1

_ACTIVE = ("active", "primary", "master", "leader")
_STANDBY = ("standby", "secondary", "replica", "slave", "follower")


class Said(Struct, frozen=True):
    """What a probe found. `unknown`: it couldn't find out; `detail` says why, or what it went by."""

    role: Role
    detail: str


class RoleProbe(Struct, frozen=True):
    """`ask` never raises, and takes about `TIMEOUT_S` at most."""

    text: str
    interval_s: float
    ask: Callable[[], Said]


def read_role_probe(sources: Sources) -> RoleProbe | None:
    """None: the flag isn't given.

    Raises:
        QanatError: `flag_value_invalid`, at the flag, its variable or its key.
    """
    text = sources.get(FLAG, "")
    if not text:
        return None
    interval_s = sources.get("role-probe-interval", 2.0)
    if interval_s < SHORTEST_INTERVAL_S:
        raise sources.bad("role-probe-interval", "it is at least 100ms", hint="write one such as 2s")
    return RoleProbe(text, interval_s, _kind(sources, text))


def _kind(sources: Sources, text: str) -> Callable[[], Said]:
    scheme, _, rest = text.partition(":")
    match scheme.lower():
        case "exec":
            return _command(sources, rest)
        case "file":
            path = rest.removeprefix("//")
            if not path.startswith("/"):
                raise sources.bad(FLAG, "the file is named by its whole path", hint=HINT)
            return lambda: ask_file(path)
        case "http" | "https":
            return _http(sources, text)
        case "postgres" | "postgresql":
            return _postgres(sources, text)
    raise sources.bad(FLAG, f"'{text[:60]}' is no role probe", hint=HINT)


def _command(sources: Sources, text: str) -> Callable[[], Said]:
    try:
        words = shlex.split(text.removeprefix("//"))
    except ValueError as error:
        raise sources.bad(FLAG, f"the command can't be read: {error}", hint=HINT) from None
    if not words:
        raise sources.bad(FLAG, "the command is empty", hint=HINT)
    return lambda: ask_command(words)


def _http(sources: Sources, url: str) -> Callable[[], Said]:
    _no_password(sources, url)
    if not urlsplit(url).hostname:
        raise sources.bad(FLAG, "the URL names no host", hint=HINT)
    return lambda: ask_http(url)


def _postgres(sources: Sources, url: str) -> Callable[[], Said]:
    _no_password(sources, url)
    return PostgresServer(url)


def _no_password(sources: Sources, url: str) -> None:
    """Command lines can be read by everybody on the host."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise sources.bad(FLAG, f"the URL can't be read: {error}", hint=HINT) from None
    if parts.password is not None or any(name == "password" for name, _ in parse_qsl(parts.query)):
        raise sources.bad(
            FLAG, "the URL holds a password", hint="leave it out: PGPASSFILE, ~/.pgpass or PGPASSWORD has it"
        )


def ask_command(words: list[str]) -> Said:
    """Ends with 0: active; with 1: standby; anything else is no answer. Run without a shell. The first line that it prints is the
    detail."""
    import subprocess

    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Said("unknown", f"{words[0]} took longer than {TIMEOUT_S:g} s")
    except OSError as error:
        return Said("unknown", f"{words[0]}: {error.strerror}")
    line = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0][:LONGEST_DETAIL]
    detail = line or f"{words[0]} ended with {done.returncode}"
    role: Role = "active" if done.returncode == 0 else "standby" if done.returncode == 1 else "unknown"
    return Said(role, detail)


def ask_file(path: str) -> Said:
    """Its first word: `active`, `primary`, … or `standby`, `replica`, …; an empty file is active, a missing one standby."""
    try:
        with Path(path).open("rb") as file:
            words = file.read(LONGEST_FILE).decode("utf-8", "replace").lower().split()
    except FileNotFoundError:
        return Said("standby", f"{path} is not there")
    except OSError as error:
        return Said("unknown", f"{path}: {error.strerror}")
    if not words:
        return Said("active", f"{path} is there")
    if words[0] in _ACTIVE:
        return Said("active", f"{path} says {words[0]}")
    if words[0] in _STANDBY:
        return Said("standby", f"{path} says {words[0]}")
    return Said("unknown", f"{path} says neither active nor standby")


def ask_http(url: str) -> Said:
    """200 to 299 is active, any other answer below 500 and 503 is standby (as Patroni's `/primary` and most checks for load
    balancers have it)."""
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, ProxyHandler, Request

    class Nowhere(HTTPRedirectHandler):
        """A redirect is an answer: not this host."""

        def redirect_request(self, *_: Any) -> None:
            return None

    try:
        request = Request(url, headers={"User-Agent": "qanat-role-probe"})
        with (
            Deadline(TIMEOUT_S, url) as deadline,
            deadline.opener(Nowhere, ProxyHandler({})).open(request, timeout=TIMEOUT_S) as answer,
        ):
            status = int(answer.status)
    except HTTPError as error:
        status = error.code
        error.close()
    except (URLError, OSError, ValueError) as error:
        return Said("unknown", f"no answer: {getattr(error, 'reason', error)}"[:LONGEST_DETAIL])
    role: Role = "active" if status < 300 else "standby" if status < 500 or status == 503 else "unknown"
    return Said(role, f"answered {status}")


class PostgresServer:
    """A server that is not in recovery is active. The connection is kept; psycopg is loaded with the first question."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    def __call__(self) -> Said:
        try:
            import psycopg
        except ImportError:
            return Said("unknown", "psycopg is not installed: pip install 'psycopg[binary]'")
        for is_fresh in (self._connection is None, True):
            try:
                if is_fresh:
                    self._connection = psycopg.connect(
                        self._url, connect_timeout=int(TIMEOUT_S), autocommit=True, application_name="qanat role probe"
                    )
                row = self._connection.execute("SELECT pg_is_in_recovery()").fetchone()
            except psycopg.Error as error:
                self._close()
                if is_fresh:
                    line = str(error).strip().partition("\n")[0]
                    return Said("unknown", line[:LONGEST_DETAIL] or type(error).__name__)
            else:
                in_recovery = bool(row and row[0])
                return Said(
                    "standby" if in_recovery else "active", f"pg_is_in_recovery() is {str(in_recovery).lower()}"
                )
        return Said("unknown", "no answer")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
