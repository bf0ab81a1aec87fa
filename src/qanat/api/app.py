"""The FastAPI application: the gate, the resources, and the envelope around every failure."""

import re
from collections.abc import Callable
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from qanat.api.http.context import Context
from qanat.api.http.description import describe
from qanat.api.http.envelope import refuse
from qanat.api.http.failures import FAILURES
from qanat.api.http.gate import Gate
from qanat.api.http.routes import PREFIX, Handover
from qanat.api.qanat import accounts as qanat_accounts
from qanat.api.qanat import (
    alerts,
    certificates,
    connector_tokens,
    cutovers,
    error_pages,
    explain,
    health,
    limits,
    nodes,
    origin_certificate,
    own_node,
    promotions,
    request_lists,
    status,
    targets,
    upkeep,
    user_key,
    users,
)
from qanat.api.qanat import audit as qanat_audit
from qanat.api.qanat import configurations as qanat_configurations
from qanat.api.qanat import tunnels as qanat_tunnels
from qanat.api.v4 import (
    accounts,
    audit_logs,
    cfd_tunnel,
    configurations,
    dns_records,
    hostname_routes,
    ips,
    management,
    members,
    private_hostnames,
    quick,
    teamnet,
    tokens,
    user,
    virtual_networks,
    zone_settings,
    zones,
)
from qanat.errors import QanatError

_IDS = re.compile(r"/(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?=/|$)")

RESOURCES = (
    user,
    user_key,
    users,
    ips,
    audit_logs,
    tokens,
    accounts,
    members,
    origin_certificate,
    zones,
    zone_settings,
    dns_records,
    cfd_tunnel,
    configurations,
    qanat_configurations,
    management,
    hostname_routes,
    virtual_networks,
    teamnet,
    private_hostnames,
    quick,
    status,
    qanat_tunnels,
    connector_tokens,
    cutovers,
    error_pages,
    certificates,
    nodes,
    promotions,
    own_node,
    explain,
    health,
    request_lists,
    targets,
    alerts,
    qanat_audit,
    qanat_accounts,
    limits,
    upkeep,
)


def create_app(context: Context) -> FastAPI:
    """The API of one edge."""
    app = FastAPI(
        title="qanat",
        version=context.version,
        openapi_url=f"{PREFIX}/qanat/openapi.json" if context.own_endpoints else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    app.add_middleware(Gate, context=context, routes=app.router.routes)
    app.add_exception_handler(QanatError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http_failure)
    app.router.routes.insert(0, Handover())
    for resource in RESOURCES:
        app.router.routes.extend(each for each in resource.router.routes if context.own_endpoints or not _is_own(each))
    app.router.routes.extend(quick.bare.routes)
    app.openapi = _described_once(app)  # type: ignore[method-assign]  # as FastAPI's documentation does it
    return app


def _is_own(route: BaseRoute) -> bool:
    """Whether an endpoint is qanat's own: those have `qanat` for a part of their path."""
    return isinstance(route, APIRoute) and "qanat" in route.path.split("/")


def _described_once(app: FastAPI) -> Callable[[], dict[str, Any]]:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            routes = [route for each in RESOURCES for route in each.router.routes if isinstance(route, APIRoute)]
            app.openapi_schema = describe(app, PREFIX, routes)
        return app.openapi_schema

    return openapi


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    return refuse(cast(QanatError, error))


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    first: dict[str, Any] = cast(RequestValidationError, error).errors()[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"] if part != "body")
    if first["type"] == "json_invalid":
        return refuse(QanatError("body_malformed", f"the body is not JSON: {first['ctx']['error']}"))
    # a code of ours is what one of our own validators said
    code = first["type"] if first["type"] in FAILURES else "body_malformed"
    return refuse(QanatError(code, first["msg"], where=place.removeprefix(".") or "body"))


async def _http_failure(request: Request, error: Exception) -> JSONResponse:
    failure = cast(HTTPException, error)
    context: Context = request.app.state.context
    endpoint = f"{request.method} {_IDS.sub('/{id}', request.url.path)[:200]}"
    if failure.status_code == 404:
        context.miss(endpoint)
        return refuse(QanatError("endpoint_unknown", "qanat does not have this endpoint"))
    if failure.status_code == 405:
        context.miss(endpoint)
        refused = refuse(QanatError("method_not_allowed", f"{request.method} is not a method of this endpoint"))
        # of no resource is only the description, which is FastAPI's own
        methods = _methods_at(request.scope["path"]) or {"GET", "HEAD"}
        refused.headers["allow"] = ", ".join(sorted(methods))
        return refused
    return refuse(QanatError("body_malformed", "the body can't be read as JSON"))


def _methods_at(path: str) -> set[str]:
    """All methods of a path; the framework names those of one of its routes. A word that a route has (`verify`) is not an id."""
    routes = [each for resource in RESOURCES for each in resource.router.routes if isinstance(each, APIRoute)]
    first = next((each.path for each in routes if each.path_regex.match(path)), None)
    return {method for each in routes if each.path == first for method in each.methods or ()}
