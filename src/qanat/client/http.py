"""Calls of a v4 API over HTTP: envelope, pages, streams, and what is wrong when there is no answer."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from qanat import structs
from qanat.client.transport import AddressError, Response, Transport, TransportError, UnsendableError
from qanat.errors import QanatError

PER_PAGE = 100
MAX_PAGES = 10_000  # a server that never ends its list is not followed for ever
MAX_WAIT_S = 60.0
BUSY = frozenset({429, 502, 503, 504})
NO_SUCH_ENDPOINT = frozenset({7000, 7003})
"""The envelope's codes; the hosted API says the second, and means both (api.md 3.4)."""
TOKEN = re.compile(r"[!-~]+")

Shape = TypeVar("Shape")
Query = Mapping[str, str | int]


class ApiRefusedError(QanatError):
    """The API said no: `status` is HTTP's, `api_code` the envelope's, `qanat_code` ours where it is a qanat."""

    def __init__(self, status: int, api_code: int, message: str, *, qanat_code: str | None = None) -> None:
        super().__init__("api_refused", message, hint=None)
        self.status = status
        self.api_code = api_code
        self.qanat_code = qanat_code


class StandardOnlyError(QanatError):
    """The control plane has no endpoints of qanat's own."""

    def __init__(self, base_url: str) -> None:
        super().__init__(
            "api_standard_only",
            f"{base_url} has only the standard endpoints, and this needs one of qanat's own",
            hint="an edge of qanat's has it; against the hosted API it can't be done",
        )


class Calls:
    """One control plane. `base_url` ends in `/client/v4`. `retries`: how often a read is repeated while the API says that
    it is busy; a write never is. QanatError `api_token_unreadable` for what can be no token."""

    def __init__(self, base_url: str, token: str, *, timeout_s: float = 30.0, retries: int = 0) -> None:
        self.base_url = base_url.rstrip("/")
        self._retries = retries
        if not TOKEN.fullmatch(token):
            raise QanatError("api_token_unreadable", "the API token is empty, or has characters that no token has")
        is_local = base_url.lower().startswith("http://") and is_loopback(base_url)
        self._headers: list[tuple[str, str | bytes]] = [("authorization", f"Bearer {token}"), ("user-agent", "qanat")]
        # What goes to this machine in clear text goes through no proxy of the environment: it would read the token.
        self._transport = Transport(self.base_url, timeout_s=timeout_s, use_proxies=not is_local)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def listed(self, path: str, query: Query | None = None) -> list[dict[str, Any]]:
        """Any list, to its end, as it is. `query` may name a `per_page` of its own."""
        return list(self._pages(path, dict[str, Any], query))

    def result(self, method: str, path: str, *, query: Query | None = None, body: object = None) -> Any:
        """Any answer's result, as it is."""
        return self._call(method, path, query=query, body=body).get("result")

    def _one(
        self,
        method: str,
        path: str,
        shape: type[Shape],
        *,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Shape:
        answer = self._call(method, path, query=query, body=body, headers=headers)
        return converted(answer.get("result"), shape, path)

    def _pages(self, path: str, shape: type[Shape], query: Query | None = None) -> Iterator[Shape]:
        for page in range(1, MAX_PAGES + 1):
            answer = self._call("GET", path, query={"per_page": PER_PAGE, **(query or {}), "page": page})
            rows = converted(answer.get("result") or [], list[shape], path)  # type: ignore[valid-type]
            yield from rows
            info = answer.get("result_info")
            info = info if isinstance(info, dict) else {}
            per_page, total = info.get("per_page") or PER_PAGE, info.get("total_count")
            if not rows or (isinstance(total, int) and isinstance(per_page, int) and page * per_page >= total):
                return
            if total is None and len(rows) < PER_PAGE:
                return
        raise QanatError("api_unreachable", f"the list {path} of {self.base_url} has no end")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str | bytes] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        kind, content = _body(body, files, form)
        sent: list[tuple[str, str | bytes]] = [
            *self._headers,
            ("accept", "application/json"),
            *_headers(headers),
            *kind,
        ]
        tries = self._retries + 1 if method == "GET" else 1
        while True:
            tries -= 1
            with self._told():
                response = self._transport.request(method, path, query=query or {}, headers=sent, body=content)
            if response.status not in BUSY or not tries:
                return self._answer(response, path)
            time.sleep(_wait_s(response))

    @contextmanager
    def _streamed(self, path: str, query: Query | None = None) -> Iterator[Iterator[bytes]]:
        """A body that isn't an envelope, in pieces; QanatError `api_unreachable` also when it is cut."""
        sent: list[tuple[str, str | bytes]] = [*self._headers, ("accept", "*/*")]
        with (
            self._told(),
            self._transport.stream("GET", path, query=query or {}, headers=sent) as (status, headers, pieces),
        ):
            if status != 200:
                refused = Response(status, headers, b"".join(pieces))
                self._answer(refused, path)
                raise self._no_envelope(refused)
            yield pieces

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except UnsendableError as error:  # its cause quotes the value, which may be a secret
            raise _unsendable() from error
        except TransportError as error:
            raise QanatError(
                "api_unreachable",
                f"the API at {self.base_url} doesn't answer: {error}",
                hint="is `qanat edge` running? The address is set by --api, QANAT_API or a profile",
            ) from error
        except AddressError as error:
            raise QanatError("api_unreachable", f"{self.base_url} is not a valid address of an API: {error}") from error

    def _answer(self, response: Response, path: str) -> dict[str, Any]:
        try:
            answer = json.loads(response.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or "success" not in answer:
            raise self._no_envelope(response)
        if not answer["success"]:
            refusal = _refusal(response.status, answer)
            is_endpoint = refusal.qanat_code in (None, "endpoint_unknown")  # 7003 is what qanat says of objects, too
            if refusal.api_code in NO_SUCH_ENDPOINT and is_endpoint and "qanat" in path.split("/"):
                raise StandardOnlyError(self.base_url) from refusal
            raise refusal
        return answer

    def _no_envelope(self, response: Response) -> QanatError:
        return QanatError(
            "api_unreachable",
            f"{self.base_url} answered {response.status}, but not as a v4 API",
            hint="the address ends in /client/v4",
        )


def policy_header(policy: str | None) -> dict[str, str] | None:
    """What becomes of a hostname that would go to a tunnel that doesn't serve; None: as its zone says."""
    return {"qanat-cutover-policy": policy} if policy is not None else None


def is_loopback(base_url: str) -> bool:
    """Whether an address names this machine."""
    try:
        host = urlsplit(base_url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(status: int, answer: Mapping[str, Any]) -> ApiRefusedError:
    errors = answer.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    message = str(first.get("message") or "no reason given")
    links = first.get("error_chain")
    chain = "; ".join(
        str(each.get("message")) for each in (links if isinstance(links, list) else []) if isinstance(each, dict)
    )
    code = first.get("code")
    ours = first.get("qanat_code")
    return ApiRefusedError(
        status,
        int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 0,
        f"{message} ({chain})" if chain else message,
        qanat_code=ours if isinstance(ours, str) else None,
    )


def _headers(headers: Mapping[str, str | bytes] | None) -> list[tuple[str, str | bytes]]:
    """A passphrase's characters go as UTF-8."""
    return [(name, value if isinstance(value, bytes) else value.encode()) for name, value in (headers or {}).items()]


def _body(
    body: object, files: Mapping[str, tuple[str, bytes, str]] | None, form: Mapping[str, str] | None
) -> tuple[list[tuple[str, str | bytes]], bytes | None]:
    """What goes in a request, and the field that says its type: JSON, or a form with files (RFC 7578)."""
    if files is None:
        if body is None:
            return [], None
        try:
            return [("content-type", "application/json")], json.dumps(
                body, ensure_ascii=False, separators=(",", ":"), allow_nan=False
            ).encode()
        except ValueError as error:
            raise _unsendable() from error
    border = os.urandom(16).hex()
    parts = [
        f'--{border}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (form or {}).items()
    ]
    for name, (file, content, kind) in files.items():
        head = f'content-disposition: form-data; name="{name}"; filename="{file}"\r\ncontent-type: {kind}'
        parts.append(f"--{border}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    parts.append(f"--{border}--\r\n".encode())
    return [("content-type", f"multipart/form-data; boundary={border}")], b"".join(parts)


def _unsendable() -> QanatError:
    return QanatError("usage", "a value has characters, or a number, that JSON or HTTP don't have")


def _wait_s(response: Response) -> float:
    try:
        return min(max(0.0, float(response.headers.get("retry-after", "1"))), MAX_WAIT_S)
    except ValueError:
        return 1.0


def converted(value: object, shape: type[Shape], path: str) -> Shape:
    """The value in this shape. QanatError `api_unreachable` when it isn't."""
    try:
        return structs.convert(value, shape)
    except msgspec.ValidationError as error:
        raise QanatError("api_unreachable", f"the API's answer to {path} is not what was expected: {error}") from error
