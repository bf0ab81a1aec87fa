"""In front of every endpoint: request id, credentials, a bounded body. No valid token, no further (S34)."""

import json
from secrets import token_hex

import structlog
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qanat.api.context import Context
from qanat.api.envelope import fail, refuse
from qanat.auth import Principal, verify
from qanat.errors import QanatError

PREFIX = "/client/v4"
VERIFY_PATHS = ("/user/tokens/verify", "/tokens/verify")
MAX_BODY_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class Gate:
    """ASGI middleware. Puts the `Principal` into `request.state.principal`."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request_id = f"{token_hex(8)}-{self._context.location}"
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["cf-ray"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                answer = await self._pass(scope, receive, send_marked)
            except QanatError as error:
                answer = refuse(error)
            except Exception:
                log.exception("the API failed", method=scope["method"], path=scope["path"])
                if started:
                    raise
                answer = fail(500, [{"code": 10500, "message": f"internal error; the log has it under {request_id}"}])
            if answer is not None:
                await answer(scope, receive, send_marked)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> JSONResponse | None:
        path: str = scope["path"]
        if not path.startswith(PREFIX + "/"):
            return refuse(QanatError("endpoint_unknown", f"the API is under {PREFIX}"))
        headers = Headers(scope=scope)
        client = scope.get("client")
        address = client[0] if client else ""
        try:
            principal = await run_in_threadpool(authenticate, self._context, headers, address)
        except QanatError as error:
            if error.code == "token_refused" and path.endswith(VERIFY_PATHS):
                raise QanatError("token_invalid_on_verify", "Invalid API Token") from None
            raise
        scope.setdefault("state", {})["principal"] = principal
        body = await _read_body(headers, receive)
        if b"\\u" in body:
            await run_in_threadpool(check_texts, body)
        sent = False

        async def receive_again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        # Clients label JSON bodies as they like, and some label empty ones; what we take is always JSON.
        relabelled = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        if body:
            relabelled.append((b"content-type", b"application/json"))
        await self._app({**scope, "headers": relabelled}, receive_again, send)
        return None


def authenticate(context: Context, headers: Headers, address: str) -> Principal:
    """By the headers of api.md 0.3, in their order: a bearer token wins over key and email."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, text = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise QanatError(
                "credentials_malformed", "Invalid request headers", hint="Invalid format for Authorization header"
            )
        return verify(context.store, text.strip(), address=address)
    if "x-auth-key" in headers or "x-auth-email" in headers:
        raise QanatError("credentials_unknown", "Unknown X-Auth-Key or X-Auth-Email")
    if "x-auth-user-service-key" in headers:
        raise QanatError("credentials_unsupported", "Authentication error")
    raise QanatError("credentials_missing", "Invalid request headers", hint="Missing Authorization header")


def check_texts(body: bytes) -> None:
    """No text in a JSON body may hold a NUL or half a surrogate pair: databases and encoders refuse them later.

    Raises:
        QanatError: `body_malformed`. What isn't JSON at all is told by who parses it.
    """
    try:
        left: list[object] = [json.loads(body)]
    except (ValueError, RecursionError):
        return
    while left:
        value = left.pop()
        if isinstance(value, str):
            if "\x00" in value or (not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value)):
                raise QanatError("body_malformed", "a text has a NUL, or half a surrogate pair, which is no character")
        elif isinstance(value, dict):
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


async def _read_body(headers: Headers, receive: Receive) -> bytes:
    too_large = QanatError("body_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes, the most that is taken")
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_large
        if not message.get("more_body", False):
            break
    return bytes(body)
