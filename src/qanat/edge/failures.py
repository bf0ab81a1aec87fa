"""The newest failed requests, in memory, so that the id on an error page leads to the reason."""

from collections import OrderedDict
from threading import Lock

from qanat.edge.engine import RequestFailed

KEPT = 10_000


class Failures:
    """The last `kept` failures by request id."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._by_id: OrderedDict[str, RequestFailed] = OrderedDict()
        self._lock = Lock()

    def add(self, failed: RequestFailed) -> None:
        """The oldest makes room."""
        with self._lock:
            self._by_id[failed.request_id] = failed
            while len(self._by_id) > self._kept:
                self._by_id.popitem(last=False)

    def get(self, request_id: str) -> RequestFailed | None:
        """None when it never failed, or long ago."""
        with self._lock:
            return self._by_id.get(request_id)
