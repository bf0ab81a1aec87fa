"""A log file that begins anew at 1 MiB: `cloudflared.log` in --log-directory, the last five kept under their time, as stock's."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

NAME = "cloudflared.log"
"""Scripts and log shippers that were written for stock look for it."""
LARGEST = 1 << 20
MOST_KEPT = 5

_KEPT = re.compile(r"cloudflared-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log", re.ASCII)


class RollingFile:
    """`write` takes whole lines; the log's lock keeps two from coming at once.

    Raises:
        OSError: the folder or the file can't be made.
    """

    def __init__(self, folder: str, *, largest: int = LARGEST, clock: Callable[[], float] = time.time) -> None:
        self._folder = Path(folder)
        self._path = self._folder / NAME
        self._largest = largest
        self._clock = clock
        self._folder.mkdir(mode=0o744, parents=True, exist_ok=True)
        self._file = self._open()
        self._size = self._path.stat().st_size

    def write(self, text: str) -> None:
        size = len(text.encode("utf-8", "backslashreplace"))
        if self._size and self._size + size > self._largest:
            self._begin_anew()
        self._file.write(text)
        self._size += size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> TextIO:
        return self._path.open("a", encoding="utf-8", errors="backslashreplace")

    def _begin_anew(self) -> None:
        self._file.close()
        try:
            self._path.replace(self._folder / self._kept_name())
            kept = sorted(each for each in self._folder.iterdir() if _KEPT.fullmatch(each.name))
            for old in kept[:-MOST_KEPT]:
                old.unlink(missing_ok=True)
        finally:
            self._file = self._open()
            self._size = self._path.stat().st_size

    def _kept_name(self) -> str:
        """Its time, to the millisecond: no two have the same."""
        now = self._clock()
        while True:
            stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now))
            name = f"cloudflared-{stamp}.{int(now * 1000) % 1000:03}.log"
            if not (self._folder / name).exists():
                return name
            now += 0.001
