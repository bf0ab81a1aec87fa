"""The new process, as the one that started it has it: begun with what is handed down, waited for, ended."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from qanat.succession.child import END_S, Channel, Child, UpgradeFailedError

T = TypeVar("T")


class Told(Struct, frozen=True, omit_defaults=True):
    """A line between the two. `trouble`: why the new one can't go on yet; the last one is the reason if it never does."""

    trouble: str | None = None


Line = TypeVar("Line", bound=Told)


class Begun(Generic[Line]):
    """A new process of the same program, and the channel to it."""

    def __init__(self, child: Child, channel: Channel[Line]) -> None:
        self._child = child
        self._channel = channel

    @classmethod
    def _begin(
        cls,
        command: Sequence[str],
        line: type[Line],
        given: Callable[[int], Struct],
        *,
        fds: Sequence[int],
        watched: bool,
        first: Line | None = None,
    ) -> Self:
        """Starts it with these file descriptors and its end of the channel, which `given` tells it the number of. `watched`: this
        process stays its parent. `first`: waits for it in the channel.

        Raises:
            UpgradeFailedError: the program can't be run.
        """
        ours, theirs = socket.socketpair()
        channel = Channel(ours, line)
        if first is not None:
            channel.send(first)
        number = theirs.fileno()
        try:
            return cls(Child.start(command, given=given(number), fds=(number, *fds), watched=watched), channel)
        except UpgradeFailedError:
            channel.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """As this process sees it."""
        return self._child.pid

    def signal(self, number: int) -> None:
        """Passes a signal on, if it still runs."""
        self._child.signal(number)

    def failure(self, limit_s: float = 0.0) -> int:
        """The exit code of one that ended in failure within that time, as a shell tells it; 0 where it runs or all is well."""
        code = self._child.wait(limit_s) or 0
        return code if code >= 0 else 128 - code

    def _wait(self, limit_s: float, what: str, found: Callable[[Line], T | None]) -> T:
        """What the first line says in which something is found. `what`: it did not do, if it never comes.

        Raises:
            UpgradeFailedError: it ended, or said nothing of it within `limit_s`; with its own last word, if it had any.
        """
        end = time.monotonic() + limit_s
        trouble = ""
        try:
            while line := self._channel.next(end):
                if (value := found(line)) is not None:
                    return value
                trouble = line.trouble or trouble
        except msgspec.DecodeError as error:
            raise UpgradeFailedError(f"the new process said what isn't understood: {error}") from None
        because = f": {trouble}" if trouble else ""
        if time.monotonic() < end:
            code = self._child.wait(END_S)
            how = f"ended with {code}" if code is not None else "stopped talking"
            raise UpgradeFailedError(f"the new process {how}{because}")
        raise UpgradeFailedError(f"the new process {what} within {limit_s:g} s{because}")
