"""`forwarders` of a config.yml: what `access tcp` does, for each of them, in the process that runs the file's connector."""

import asyncio
import socket
import threading
import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from qanat import structs
from qanat.cli.stock.application import application_url
from qanat.cli.stock.carry import Destination, listen_address, listening, serve_all
from qanat.connector.log import Log
from qanat.connector.sources import Sources
from qanat.errors import QanatError

RETRY_S = 1.0
"""How soon a listener whose address is taken is tried again: a connector that hands over frees it when it ends."""


class Forwarder(Struct, forbid_unknown_fields=False):
    """One of them, in stock's keys. `url`: the public hostname; `listener`: an address of this host."""

    url: str
    listener: str
    destination: str = ""
    service_token_id: str = msgspec.field(name="serviceTokenID", default="")
    service_token_secret: str = msgspec.field(name="serviceTokenSecret", default="")


def start(sources: Sources, log: Log) -> bool:
    """Starts those of the file, each in a thread; False: there are none.

    Raises:
        QanatError: `configuration_file_invalid`, naming the forwarder and its key.
    """
    listed = sources.document.get("forwarders") or []
    found = [_read(sources, number, each) for number, each in enumerate(listed)] if isinstance(listed, list) else []
    for address, where in found:
        threading.Thread(target=_run, args=(address, where, log), name="forwarder", daemon=True).start()
    return bool(found)


def _read(sources: Sources, number: int, document: object) -> tuple[tuple[str, int], Destination]:
    place = f"{sources.path}: forwarders[{number}]"
    try:
        read = structs.convert(document, Forwarder)
        url = application_url(read.url, where=place)
        address = listen_address(read.listener, place)
    except msgspec.ValidationError as error:
        hint = "each has a url and a listener, such as `listener: 127.0.0.1:9210`"
        raise QanatError("configuration_file_invalid", str(error), where=place, hint=hint) from None
    except QanatError as error:
        raise QanatError("configuration_file_invalid", error.message, where=place, hint=error.hint) from None
    headers = {
        "Cf-Access-Client-Id": read.service_token_id,
        "Cf-Access-Client-Secret": read.service_token_secret,
        "Cf-Access-Jump-Destination": read.destination,
    }
    return address, Destination(url, _present(headers), None, None, True, None)


def _present(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if value]


def _run(address: tuple[str, int], where: Destination, log: Log) -> None:
    server: socket.socket | None = None
    was_told = False
    while server is None:
        try:
            server = listening(address)
        except OSError as error:
            if not was_told:
                log.error("failed to start forwarding server", error=error.strerror or str(error), url=where.url)
            was_told = True
            time.sleep(RETRY_S)
    host, port = server.getsockname()[:2]
    log.info("Start Websocket listener", host=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", url=where.url)
    asyncio.run(serve_all(server, where, log))
