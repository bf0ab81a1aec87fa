"""A network between connector and edge that tests can break: it forwards UDP and TCP of one port, or swallows both."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.support.http1 import close_quietly


class Relay:
    """Listens on one port for UDP and TCP and forwards to `target`. While `silent`, every packet vanishes, no RST; while
    `drops_datagrams`, those of UDP, and while `drops_streams`, those of new connections over TCP.

    Datagrams come `delay_s` later; of `lose_every` in a row (0: of none) one is lost, each way.
    """

    def __init__(self, target: str, *, delay_s: float = 0.0) -> None:
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.silent = False
        self.drops_datagrams = False
        self.drops_streams = False
        self.delay_s = delay_s
        self.lose_every = 0
        self.lost = 0
        self._seen = 0
        self._later: deque[tuple[float, Callable[[], object]]] = deque()
        self._news = threading.Condition()
        self._open = True
        self._udp: dict[tuple[str, int], socket.socket] = {}
        self._tcp: list[socket.socket] = []
        while True:
            self._listener = socket.create_server(("127.0.0.1", 0))
            number = self._listener.getsockname()[1]
            self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self._datagrams.bind(("127.0.0.1", number))
                break
            except OSError:
                self._listener.close()
                self._datagrams.close()
        self.address = f"127.0.0.1:{number}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)
        self._start(self._receive)
        if delay_s:
            self._start(self._deliver)

    @property
    def dialled(self) -> int:
        """How many came over UDP."""
        return len(self._udp)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _receive(self) -> None:
        while self._open:
            try:
                data, peer = self._datagrams.recvfrom(65536)
            except OSError:
                return
            if self.silent or self.drops_datagrams:
                continue
            out = self._udp.get(peer)
            if out is None:
                out = self._udp[peer] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                out.connect(self.target)
                self._start(self._back, out, peer)
            self._carry(partial(out.send, data))

    def _carry(self, send: Callable[[], object]) -> None:
        with self._news:
            self._seen += 1
            if self.lose_every and self._seen % self.lose_every == 0:
                self.lost += 1
                return
            if self.delay_s:
                self._later.append((time.monotonic() + self.delay_s, send))
                self._news.notify()
                return
        with suppress(OSError):
            send()

    def _deliver(self) -> None:
        while self._open:
            with self._news:
                if not self._later:
                    self._news.wait(0.1)
                    continue
                at, send = self._later.popleft()
            time.sleep(max(0.0, at - time.monotonic()))
            with suppress(OSError):
                send()

    def _back(self, out: socket.socket, peer: tuple[str, int]) -> None:
        while self._open:
            try:
                data = out.recv(65536)
            except ConnectionRefusedError:
                continue
            except OSError:
                return
            if not self.silent and not self.drops_datagrams:
                self._carry(partial(self._datagrams.sendto, data, peer))

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.silent or self.drops_streams:  # as lost SYNs: the dialler hears nothing
                self._tcp.append(near)
                continue
            try:
                far = socket.create_connection(self.target, 5.0)
                far.settimeout(None)
            except OSError:
                close_quietly(near)
                continue
            self._tcp += [near, far]
            for one, other in ((near, far), (far, near)):
                self._start(self._pump, one, other)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if not self.silent:
                    other.sendall(data)
            if not self.silent:
                other.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.silent:
                close_quietly(other)

    def close(self) -> None:
        self._open = False
        for sock in (self._listener, self._datagrams):
            shut(sock)
        for thread in self._threads[:2]:
            thread.join(5.0)
        others = [*self._tcp, *self._udp.values()]
        for sock in others:
            shut(sock)
        for thread in self._threads[2:]:
            thread.join(5.0)
        for sock in (self._listener, self._datagrams, *others):
            close_quietly(sock)


def shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
