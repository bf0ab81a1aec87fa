"""In front of every endpoint: request id, Host, credentials, a bounded body. No valid token, no further (S34)."""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from secrets import token_hex

import structlog
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qanat.api.http.body import SMALL_BYTES, check_json, read_body
from qanat.api.http.context import Context
from qanat.api.http.endpoint import USUAL, Form
from qanat.api.http.envelope import fail, refuse
from qanat.api.http.routes import PREFIX, Routes, handed_over
from qanat.api.http.shares import place_of
from qanat.auth.failed_logins import Way
from qanat.auth.hosts import check_host
from qanat.auth.verifier import check_key_form
from qanat.control.principal import Principal
from qanat.errors import QanatError, RetryLaterError

WITH_BODY = ("POST", "PUT", "PATCH")
_ACCOUNT = re.compile(r"com\.cloudflare\.api\.account\.([0-9a-f]{32})")

log = structlog.get_logger(__name__)


class Gate:
    """ASGI middleware. Puts the `Principal` into `request.state.principal`. `routes`: the application's, which declare what they
    take."""

    def __init__(self, app: ASGIApp, context: Context, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._context = context
        self._routes = Routes(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        # what the public listener handed over has one
        request_id = scope.get("state", {}).get("request_id") or f"{token_hex(8)}-{self._context.location}"
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
        scope = without_slash(scope)
        found = self._routes.find(scope)
        needs = found.needs if found is not None else frozenset()
        takes = found.takes if found is not None else USUAL
        if needs is not None and not scope["path"].startswith(PREFIX + "/"):
            return refuse(QanatError("endpoint_unknown", f"the API is under {PREFIX}"))
        headers = Headers(scope=scope)
        check_host(headers.get("host", ""), self._context.hosts, reached=scope.get("server"))
        shares = self._context.shares
        client = scope.get("client")
        address = client[0] if client else ""
        if needs is not None:
            try:
                principal = recall(self._context, headers, address)
                if principal is None:
                    async with shares.strangers.turn(place_of(address)):
                        principal = await run_in_threadpool(authenticate, self._context, headers, address)
            except QanatError as error:
                if error.code == "token_refused" and takes.refused_token is not None:
                    raise QanatError(*takes.refused_token) from None
                raise
            scope.setdefault("state", {})["principal"] = principal
            if takes.asks_first:
                principal.asking(needs)
            key = account_of(principal)
        else:
            key = place_of(address)
        is_account = takes.weight == "account"
        answer: list[Message] = []
        async with AsyncExitStack() as held:
            if is_account:
                await held.enter_async_context(shares.uploads.turn(key))
            body = await read_body(headers, receive, most=takes.max_bytes)
            if not body and scope["method"] == "PATCH":
                body = b"{}"  # nothing changes: some SDKs send it so
            is_large = len(body) > SMALL_BYTES
            takes_long = is_large or takes.weight == "heavy" or (found is not None and found.is_long_page(scope))
            share = shares.imports if is_account else shares.heavy if takes_long else shares.light
            async with (shares.light if takes.is_streamed else share).turn(key):
                if body and scope["method"] in WITH_BODY and takes.form == "json":
                    check = partial(check_json, body, most_values=takes.max_values(len(body)))
                    await run_in_threadpool(check) if is_large else check()
                inner = handed_over({**scope, "headers": _relabelled(scope, body, takes.form)}, found)
                if takes.is_streamed:
                    await self._app(inner, _receiver(body), send)
                elif is_large:
                    answer = await run_in_threadpool(_apart, self._app, inner, body)
                else:
                    answer = await _answer(self._app, inner, body)
        # a client that doesn't take its answer holds nobody's turn
        for message in answer:
            await send(message)
        return None


def without_slash(scope: Scope) -> Scope:
    """One slash at the end names the same endpoint, before anything looks at the path: ddclient asks for `/zones/?name=…`.
    A redirect would lose the body of a POST."""
    path: str = scope["path"]
    if not path.endswith("/") or path.endswith("//"):
        return scope
    return {**scope, "path": path[:-1]}


def account_of(principal: Principal) -> str:
    """Whose share a call takes: the account that owns the token, or the only one that it reaches; else the token's own."""
    token = principal.token
    if token.account_id is not None:
        return token.account_id
    resources = {resource for policy in token.policies for resource in policy.get("resources", ())}
    only = _ACCOUNT.fullmatch(resources.pop()) if len(resources) == 1 else None
    return only[1] if only else token.id


def _relabelled(scope: Scope, body: bytes, form: Form) -> list[tuple[bytes, bytes]]:
    """Clients label JSON bodies as they like, and some label empty ones; what we take is always JSON, but for one form."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if form != "json":
        return headers
    kept = [(name, value) for name, value in headers if name != b"content-type"]
    return [*kept, (b"content-type", b"application/json")] if body else kept


def _receiver(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # nothing follows, and whether the client left is asked by nobody
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer(app: ASGIApp, scope: Scope, body: bytes) -> list[Message]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, _receiver(body), keep)
    return messages


def _apart(app: ASGIApp, scope: Scope, body: bytes) -> list[Message]:
    """On a loop of its own, in this thread: what is built of a large body is built where no other call waits."""
    return asyncio.run(_answer(app, scope, body))


def recall(context: Context, headers: Headers, address: str) -> Principal | None:
    """A good token that is in memory needs no other thread, which would cost more than all the rest of the gate."""
    scheme, _, text = headers.get("authorization", "").strip().partition(" ")
    return context.verifier.recall(text.strip(), address=address) if scheme.lower() == "bearer" else None


def authenticate(context: Context, headers: Headers, address: str) -> Principal:
    """By the headers of api.md 0.3, in their order: a bearer token wins over key and email."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, text = authorization.strip().partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise QanatError(
                "credentials_malformed", "Invalid request headers", hint="Invalid format for Authorization header"
            )
        return _tried(context, address, text, "token", lambda: context.verifier.verify(text, address=address))
    if "x-auth-key" in headers or "x-auth-email" in headers:
        email, key = headers.get("x-auth-email", ""), headers.get("x-auth-key", "")
        check_key_form(email, key)
        if not context.legacy_keys:
            context.failed_logins.note(address=address, way="key")
            raise QanatError("credentials_unknown", "Unknown X-Auth-Key or X-Auth-Email")
        return _tried(context, address, email, "key", lambda: context.verifier.verify_key(email, key, address=address))
    if "x-auth-user-service-key" in headers:
        raise QanatError("credentials_unsupported", "Authentication error")
    raise QanatError("credentials_missing", "Invalid request headers", hint="Missing Authorization header")


def _tried(context: Context, address: str, credentials: str, way: Way, verify: Callable[[], Principal]) -> Principal:
    """Good credentials always pass; of bad ones, too many are told to wait (security.md S33)."""
    try:
        return verify()
    except QanatError as error:
        if error.code not in ("token_refused", "credentials_unknown"):
            raise
        context.failed_logins.note(address=address, way=way)
        wait = context.guesses.failed(address=address, credentials=credentials)
        if wait is None:
            raise
    raise RetryLaterError("too_many_failures", "Too many failed authentication attempts", retry_after_s=wait)
