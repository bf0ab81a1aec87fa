"""`access tcp`, `ssh`, `rdp`, `smb`: TCP carried in a WebSocket to a public hostname, whose connector opens it to the service."""

import asyncio
import os
import socket
import ssl
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from qanat.cli.stock import until_told
from qanat.cli.stock.application import application_url, credentials_headers, is_login, login_token, parsed_headers
from qanat.cli.stock.command_line import UsageError
from qanat.cli.stock.session import Session
from qanat.cli.stock.websocket import ClientConnection, Connect
from qanat.connector.log import LEVELS, Log
from qanat.connector.log_file import RollingFile
from qanat.errors import QanatError

PIECE = 1 << 14
"""The largest message that a stock connector takes whole: of a larger one it drops the rest in silence."""
LARGEST_MESSAGE = 1 << 26
OPEN_S = 20.0
PING_S = 20.0
"""So that no middlebox forgets the connection. A pong that stays out ends nothing: behind data that nobody reads it is late."""
SILENCE_S = 2.0
"""A WebSocket has no half-close: when the local side has ended, what still comes is passed on until it pauses so long. A stock
cloudflared ends at once, so that `printf … | access tcp` loses the answer."""

Headers = list[tuple[str, str]]


class Destination(Struct, frozen=True):
    """Where a WebSocket is opened: its URL, and another address to connect to in place of the URL's."""

    url: str
    headers: Headers
    address: tuple[str, int] | None
    server_name: str | None
    verify: bool
    ca_file: str | None


def tcp(session: Session) -> int:
    """Listens and carries every connection, or carries standard input and output."""
    asked = session.asked
    log = _log(session, terminal=asked.is_set("url") or bool(asked.words))
    where = destination(session, log)
    if len(asked.words) > 1 or (asked.words and asked.is_set("url")):
        raise UsageError(
            "Specified origin urls using both --url and argument. Decide which one you want, I can only support one."
        )
    listener = asked.words[0] if asked.words else asked.text("url")
    if not listener:
        return _carry_standard(where, log)
    return _listen(where, listen_address(listener, asked.place("url") if not asked.words else asked.command.name), log)


def destination(session: Session, log: Log) -> Destination:
    """From the flags. QanatError `usage`, `flag_value_invalid`."""
    asked = session.asked
    url = application_url(asked.text("hostname"), where="--hostname")
    headers = parsed_headers(asked.texts("header"))
    headers += credentials_headers(asked)
    if asked.text("destination"):
        headers.append(("Cf-Access-Jump-Destination", asked.text("destination")))
    address, server_name, verify = _elsewhere(asked.text("connect-to"), log)
    ca_file = session.in_home(asked.text("cacert")) or None
    return Destination(url, headers, address, server_name, verify, ca_file)


def _elsewhere(text: str, log: Log) -> tuple[tuple[str, int] | None, str | None, bool]:
    """`host`, `host:port` or `sni:port:host`."""
    if not text:
        return None, None, True
    parts = text.split(":")
    port = parts[1] if len(parts) > 1 else "443"
    if len(parts) > 3 or not port.isdigit() or not 0 < int(port) < 65536:
        raise QanatError(
            "flag_value_invalid",
            f"invalid connection override: {text[:80]}",
            where="--connect-to",
            hint="sni:port:host",
        )
    if len(parts) == 3:
        log.warn(f"Using insecure SSL connection because SNI overridden to {parts[0]}")
        return (parts[2], int(port)), parts[0], False
    return (parts[0], int(port)), None, True


def listen_address(text: str, where: str) -> tuple[str, int]:
    rest = text.partition("://")[2] or text
    host, colon, port = rest.rstrip("/").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise QanatError(
            "flag_value_invalid",
            f"error validating origin URL: '{text[:80]}' is not host:port",
            where=where,
            hint="write localhost:2222",
        )
    return host, int(port)


def _log(session: Session, *, terminal: bool) -> Log:
    """Nothing on the terminal while standard input and output belong to somebody else."""
    asked = session.asked
    level = asked.text("log-level") or "info"
    if level not in LEVELS:
        raise QanatError(
            "flag_value_invalid",
            f"'{level[:40]}' is not a log level",
            where=asked.place("log-level"),
            hint=f"one of {', '.join(LEVELS)}",
        )
    file: Any = None
    try:
        if asked.text("logfile"):
            file = open(session.in_home(asked.text("logfile")), "a", encoding="utf-8")  # noqa: SIM115, PTH123
        elif asked.text("log-directory"):
            file = RollingFile(session.in_home(asked.text("log-directory")))
    except OSError as error:
        raise QanatError(
            "file_unwritable", error.strerror or "it can't be opened", where="--logfile or --log-directory"
        ) from None
    stream = sys.stderr if terminal else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    return Log(level=level, file=file, stream=stream)


# ---------------------------------------------------------------- one connection


async def open_stream(where: Destination, log: Log) -> ClientConnection:
    """The WebSocket; where an Access login stands in front of it, with that application's token. QanatError."""
    try:
        return await _open(where, where.headers)
    except InvalidStatus as refused:
        if not is_login(refused.response):
            raise _told(where, refused) from refused
    for fresh in (False, True):
        token = await asyncio.to_thread(login_token, where.url, log, fresh=fresh)
        try:
            return await _open(where, [*where.headers, ("Cf-Access-Token", token)])
        except InvalidStatus as refused:
            if fresh or not is_login(refused.response):
                raise _told(where, refused) from refused
    raise AssertionError


async def _open(where: Destination, headers: Headers) -> ClientConnection:
    from qanat import __version__

    context = ssl.create_default_context(cafile=where.ca_file) if where.verify else ssl._create_unverified_context()
    elsewhere: dict[str, Any] = {}
    if where.address is not None:
        elsewhere = dict(zip(("host", "port"), where.address, strict=True))
    try:
        return await Connect(
            "wss" + where.url.removeprefix("https"),
            **elsewhere,
            ssl=context,
            server_hostname=where.server_name,
            compression=None,
            additional_headers=headers,
            user_agent_header=f"qanat/{__version__}",
            open_timeout=OPEN_S,
            ping_interval=PING_S,
            ping_timeout=None,
            close_timeout=SILENCE_S,
            max_size=LARGEST_MESSAGE,
        )
    except InvalidStatus:
        raise
    except (WebSocketException, OSError, ValueError) as error:
        raise _told(where, error) from error


def _told(where: Destination, error: Exception) -> QanatError:
    hint = None
    if isinstance(error, InvalidStatus):
        answer = error.response
        code = answer.headers.get("X-Qanat-Error")
        text = f"{where.url} answered {answer.status_code} and not with a WebSocket{f' ({code})' if code else ''}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        text = f"the certificate of {where.url} is not trusted: {error.verify_message}"
        hint = "--cacert FILE names the CA of an edge of your own"
    elif isinstance(error, TimeoutError):
        text = f"{where.url} doesn't answer within {OPEN_S:g}s"
    elif isinstance(error, InvalidHandshake):
        text = f"{where.url} doesn't speak WebSocket: {error}"
    else:
        text = f"{where.url}: {_reason(error)}"
    return QanatError("application_unreachable", f"failed to connect to origin: {text}", hint=hint)


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    # asyncio puts words of its own into `strerror`; a resolver's numbers are below zero
    return os.strerror(number) if number and number > 0 else getattr(error, "strerror", None) or str(error)


async def carry(
    stream: ClientConnection, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Both directions until the far side ends, or the near one has and nothing comes any more."""
    heard = asyncio.Event()

    async def up() -> None:
        with suppress(ConnectionClosed, OSError):
            while piece := await read():
                await stream.send(piece)
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(SILENCE_S):
                    await heard.wait()
                heard.clear()
        await stream.close()

    upward = asyncio.create_task(up())
    try:
        async for message in stream:
            heard.set()
            await write(message if isinstance(message, bytes) else message.encode())
    except (ConnectionClosed, OSError):
        pass  # either side is gone: there is nobody to tell
    finally:
        upward.cancel()
        with suppress(Exception):
            await stream.close()


# ---------------------------------------------------------------- standard input and output


def _carry_standard(where: Destination, log: Log) -> int:
    return asyncio.run(_standard(where, log))


async def _standard(where: Destination, log: Log) -> int:
    stream = await open_stream(where, log)

    def write(piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(1, rest) :]

    # In threads: either may be a file, which no loop can wait for.
    await carry(stream, lambda: asyncio.to_thread(os.read, 0, PIECE), lambda piece: asyncio.to_thread(write, piece))
    # Whoever started us may leave standard input open, and a thread still reads it.
    sys.stderr.flush()
    os._exit(0)


# ---------------------------------------------------------------- a listener


def _listen(where: Destination, address: tuple[str, int], log: Log) -> int:
    try:
        server = listening(address)
    except OSError as error:
        raise QanatError(
            "listen_failed",
            f"failed to start forwarding server: {error.strerror or error}",
            where="--url",
            hint="choose another port",
        ) from None
    host, port = server.getsockname()[:2]
    log.info("Start Websocket listener", host=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    until_told.run(serve_all(server, where, log))
    return 0


async def serve_all(listener: socket.socket, where: Destination, log: Log) -> None:
    """Carries every connection, without end. `listener` is closed with it."""

    async def one(reader: StreamReader, writer: StreamWriter) -> None:
        await _serve(reader, writer, where, log)

    async with await asyncio.start_server(one, sock=listener) as server:
        await server.serve_forever()


def listening(address: tuple[str, int]) -> socket.socket:
    host, port = address
    family, _, _, _, place = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE, family=0 if host else socket.AF_INET
    )[0]
    return socket.create_server(place[:2], family=family, backlog=128)


async def _serve(reader: StreamReader, writer: StreamWriter, where: Destination, log: Log) -> None:
    try:
        stream = await open_stream(where, log)
    except QanatError as error:
        log.error("failed to connect to origin", error=error.message, originURL=where.url)
        writer.close()
        return

    async def write(piece: bytes) -> None:
        writer.write(piece)
        await writer.drain()

    await carry(stream, lambda: reader.read(PIECE), write)
    writer.close()
