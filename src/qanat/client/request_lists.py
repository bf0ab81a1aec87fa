"""Request lists: what passes of a hostname, request by request, for a while."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from qanat.client.http import Calls
from qanat.client.shapes import ListedRequest, RequestList


class RequestListCalls(Calls):
    """`/accounts/{account_id}/qanat/request-lists`."""

    def request_lists(self, account_id: str) -> list[RequestList]:
        """Those that there are, also those whose time is over."""
        return self._one("GET", _path(account_id), list[RequestList])

    def begin_request_list(self, account_id: str, hostname: str, *, minutes: int, most: int) -> RequestList:
        """From now on, for so long; of more requests the newest."""
        body: dict[str, Any] = {"minutes": minutes, "most": most}
        return self._one("PUT", _path(account_id, hostname), RequestList, body=body)

    def end_request_list(self, account_id: str, hostname: str) -> None:
        """Ends it, and forgets what it holds."""
        self._call("DELETE", _path(account_id, hostname))

    def listed_requests(
        self, account_id: str, hostname: str, filters: Mapping[str, str], *, limit: int
    ) -> list[ListedRequest]:
        """The newest first; `filters`: status, path, method, address."""
        query: dict[str, str | int] = {**filters, "per_page": limit}
        return self._one("GET", f"{_path(account_id, hostname)}/requests", list[ListedRequest], query=query)


def _path(account_id: str, hostname: str = "") -> str:
    lists = f"/accounts/{account_id}/qanat/request-lists"
    return f"{lists}/{quote(hostname, safe='')}" if hostname else lists
