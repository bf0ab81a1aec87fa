"""The FastAPI application: the gate, the resources, and the envelope around every failure."""

import re
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from qanat.api import accounts, cfd_tunnel, configurations, dns_records, own, user, zones
from qanat.api.context import Context
from qanat.api.envelope import refuse
from qanat.api.gate import PREFIX, Gate
from qanat.errors import QanatError

_IDS = re.compile(r"/(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?=/|$)")

RESOURCES = (user, accounts, zones, dns_records, cfd_tunnel, configurations, own)


def create_app(context: Context) -> FastAPI:
    """The API of one edge."""
    app = FastAPI(
        title="qanat",
        version=context.version,
        openapi_url=f"{PREFIX}/qanat/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    app.add_middleware(Gate, context=context)
    app.add_exception_handler(QanatError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http_failure)
    router = APIRouter(prefix=PREFIX)
    for resource in RESOURCES:
        router.include_router(resource.router)
    app.include_router(router)
    return app


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    return refuse(cast(QanatError, error))


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    first: dict[str, Any] = cast(RequestValidationError, error).errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        return refuse(QanatError("body_malformed", f"the body is not JSON: {first['ctx']['error']}"))
    return refuse(QanatError("body_malformed", first["msg"], where=".".join(place) or "body"))


async def _http_failure(request: Request, error: Exception) -> JSONResponse:
    failure = cast(HTTPException, error)
    context: Context = request.app.state.context
    endpoint = f"{request.method} {_IDS.sub('/{id}', request.url.path)[:200]}"
    if failure.status_code == 404:
        context.miss(endpoint)
        return refuse(QanatError("endpoint_unknown", "qanat does not have this endpoint"))
    if failure.status_code == 405:
        context.miss(endpoint)
        return refuse(QanatError("method_not_allowed", f"{request.method} is not a method of this endpoint"))
    return refuse(QanatError("body_malformed", "the body can't be read as JSON"))
