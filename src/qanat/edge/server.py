"""The control API's listener: uvicorn in a thread of its own."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread, get_native_id
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from qanat.edge.handed_over import HandedOver
from qanat.edge.listen import LocalSocket, listen, url_of
from qanat.edge.patience import Crowd, PatientProtocol
from qanat.errors import QanatError

POLL_S = 0.005
TICK_S = 1.0
NICE = 5
SWITCH_S = 0.0005


class Server(uvicorn.Server):
    """uvicorn's, which wakes once a second, for the Date of its answers, in place of ten times to look whether it is to end: that
    alone was a fifth of what an idle edge computes."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def main_loop(self) -> None:
        """Until `end`. The place of uvicorn's own, whose `on_tick` is still what is done each second."""
        ending = asyncio.Event()
        self._told = (asyncio.get_running_loop(), ending)
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await ending.wait()

    def end(self) -> None:
        """From any thread, also before it serves and after its end."""
        self.should_exit = True
        if self._told is not None:
            self.call(self._told[1].set)

    def call(self, what: Callable[[], None]) -> None:
        """In the thread that serves, soon; from any thread. Nothing happens before it serves and after its end."""
        if self._told is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._told[0].call_soon_threadsafe(what)


class ApiServer:
    """Bound when made, serving from `start` to `stop`."""

    def __init__(
        self,
        app: ASGIApp,
        where: str | socket.socket,
        *,
        local: LocalSocket | None = None,
        connections: int = 512,
        ending: Sequence[Callable[[], None]] = (),
    ) -> None:
        """`where`: an address, or a socket that `listen` made. `local`: what else it is served on, by the engine's hand. Whoever
        made a socket closes it. `connections`: of `where`; the engine has bounds of its own. `ending`: called when it stops,
        before open answers are waited for: what ends those that have no end of their own."""
        self._ending = ending
        self._crowd = Crowd(connections)
        protocol = type("ApiProtocol", (PatientProtocol,), {"crowd": self._crowd})
        self._own = listen(where) if isinstance(where, str) else None
        self._socket = self._own or cast("socket.socket", where)
        # duplicates, for uvicorn closes what it serves on, and another process may serve on these after us
        self._sockets = [each.dup() for each in (self._socket, *([local.socket] if local is not None else []))]
        self._server = Server(
            uvicorn.Config(
                app if local is None else HandedOver(app, local.name),
                log_config=None,
                access_log=False,
                lifespan="off",
                http=protocol,
                ws="none",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = Thread(target=self._serve, name="qanat-api", daemon=True)

    def _serve(self) -> None:
        # The engine's threads come first where cores are short: people's requests before ours. The threads that uvicorn
        # starts from this one inherit it. A kernel that knows no priorities of threads just has none.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)
        self._server.run(sockets=self._sockets)

    @property
    def url(self) -> str:
        """Where clients find the API."""
        return url_of(self._socket)

    def start(self) -> None:
        """Returns when requests are answered."""
        # Where one call computes, others get the interpreter after this time and not after five milliseconds a turn.
        sys.setswitchinterval(SWITCH_S)
        self._thread.start()
        pause = Event()
        while not self._server.started:
            if not self._thread.is_alive():
                raise QanatError("api_failed", "the control API did not start; the log says why")
            pause.wait(POLL_S)

    def leave(self) -> None:
        """Serves on, and tells every client that its connection closes."""
        self._server.call(self._crowd.say_goodbye)

    def end_streams(self) -> None:
        """Those that have no end of their own: nobody can wait for them."""
        for end in self._ending:
            end()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Lets open requests finish."""
        self._server.end()
        self.end_streams()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._own is not None:
            self._own.close()
