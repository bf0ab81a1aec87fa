"""`/accounts/{account_id}/cfd_tunnel`."""

import base64
import binascii
import json
from secrets import token_bytes
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.orm import Session
from starlette.datastructures import QueryParams

from qanat.api.context import Context, Ctx, Who
from qanat.api.envelope import ok, ok_page, parse_time, rfc3339
from qanat.api.pagination import AskedPage
from qanat.auth import Principal
from qanat.errors import QanatError
from qanat.store import accounts, connections, tunnels
from qanat.store.connections import State
from qanat.store.models import Connection, Connector, Tunnel

router = APIRouter(tags=["cfd_tunnel"])

PATH = "/accounts/{account_id}/cfd_tunnel"


class TunnelCreate(BaseModel):
    """A tunnel to make; without a secret a good one is made."""

    model_config = ConfigDict(strict=True)

    name: str
    tunnel_secret: str | None = None
    config_src: str | None = None


class TunnelChange(BaseModel):
    """What of a tunnel changes; `null` leaves as it is."""

    model_config = ConfigDict(strict=True)

    name: str | None = None
    tunnel_secret: str | None = None


@router.post(PATH)
def create_tunnel(account_id: str, body: TunnelCreate, ctx: Ctx, who: Who) -> Response:
    """Makes a tunnel; the answer holds its connector token."""
    visible_account(ctx, who, account_id)
    secret = parse_secret(body.tunnel_secret) if body.tunnel_secret is not None else token_bytes(tunnels.SECRET_BYTES)
    tunnel = tunnels.create_tunnel(
        ctx.store,
        who.actor,
        ctx.sealer,
        account_id=account_id,
        name=body.name,
        secret=secret,
        config_src=body.config_src if body.config_src is not None else "local",
    )
    state = State("inactive", tunnel.created_at, None)
    return ok({**shown(tunnel, state), "token": connector_token(tunnel, secret)})


@router.get(PATH)
def list_tunnels(account_id: str, request: Request, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """The account's tunnels, deleted ones too unless `is_deleted=false`."""
    query = request.query_params
    visible_account(ctx, who, account_id)
    with ctx.store.reading() as session:
        rows, total = tunnels.list_tunnels(
            session,
            account_id,
            filters=_filters(query),
            status=query.get("status") or None,
            offset=page.offset,
            limit=page.per_page,
        )
        states = connections.states(session, rows)
    return ok_page([shown(row, states[row.id]) for row in rows], page, total)


@router.get(PATH + "/{tunnel_id}")
def get_tunnel(account_id: str, tunnel_id: str, ctx: Ctx, who: Who) -> Response:
    """One tunnel; 404 for a deleted one."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        return ok(shown(tunnel, connections.state(session, tunnel)))


@router.patch(PATH + "/{tunnel_id}")
def change_tunnel(account_id: str, tunnel_id: str, body: TunnelChange, ctx: Ctx, who: Who) -> Response:
    """Renames the tunnel or changes its secret (and with it its token)."""
    visible_account(ctx, who, account_id)
    tunnel = tunnels.change_tunnel(
        ctx.store,
        who.actor,
        ctx.sealer,
        account_id=account_id,
        tunnel_id=tunnel_id,
        name=body.name,
        secret=parse_secret(body.tunnel_secret) if body.tunnel_secret is not None else None,
    )
    with ctx.store.reading() as session:
        return ok(shown(tunnel, connections.state(session, tunnel)))


@router.delete(PATH + "/{tunnel_id}")
def delete_tunnel(account_id: str, tunnel_id: str, request: Request, ctx: Ctx, who: Who) -> Response:
    """Deletes softly: the name is free, connectors are refused. With live connections only by `cascade=true`."""
    visible_account(ctx, who, account_id)
    cascade = request.query_params.get("cascade", "").lower() in ("true", "1")
    tunnel = tunnels.delete_tunnel(ctx.store, who.actor, account_id=account_id, tunnel_id=tunnel_id, cascade=cascade)
    with ctx.store.reading() as session:
        return ok(shown(tunnel, connections.state(session, tunnel)))


@router.get(PATH + "/{tunnel_id}/token")
def get_token(account_id: str, tunnel_id: str, ctx: Ctx, who: Who) -> Response:
    """The connector token."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
    return ok(connector_token(tunnel, tunnels.open_secret(ctx.sealer, tunnel)))


@router.get(PATH + "/{tunnel_id}/connections")
def list_connections(account_id: str, tunnel_id: str, ctx: Ctx, who: Who) -> Response:
    """The connected connectors with their connections."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        state = connections.state(session, tunnel)
    return ok([shown_connector(connector, conns) for connector, conns in state.connectors])


@router.delete(PATH + "/{tunnel_id}/connections")
def delete_connections(account_id: str, tunnel_id: str, request: Request, ctx: Ctx, who: Who) -> Response:
    """Disconnects the tunnel's connectors, or the one of `client_id`."""
    visible_account(ctx, who, account_id)
    client_id = request.query_params.get("client_id") or None
    tunnels.disconnect_tunnel(
        ctx.store,
        who.actor,
        account_id=account_id,
        tunnel_id=tunnel_id,
        connector_id=client_id.lower() if client_id else None,
    )
    return ok({})


@router.get(PATH + "/{tunnel_id}/connectors/{connector_id}")
def get_connector(account_id: str, tunnel_id: str, connector_id: str, ctx: Ctx, who: Who) -> Response:
    """One connected connector."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        connector, conns = connections.get_connector(session, tunnel, connector_id.lower())
    return ok(shown_connector(connector, conns))


@router.get("/accounts/{account_id}/tunnels")
def list_all_kinds(account_id: str, request: Request, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """All kinds of tunnels, of which qanat has one."""
    kinds = [kind for text in request.query_params.getlist("tun_types") for kind in text.split(",") if kind]
    if kinds and "cfd_tunnel" not in kinds:
        visible_account(ctx, who, account_id)
        return ok_page([], page, 0)
    return list_tunnels(account_id, request, ctx, who, page)


def visible_account(ctx: Context, who: Principal, account_id: str) -> None:
    """QanatError `account_unknown`."""
    with ctx.store.reading() as session:
        accounts.get_account(session, account_id, only=who.only_account)


def visible_tunnel(session: Session, who: Principal, account_id: str, tunnel_id: str) -> Tunnel:
    """QanatError `account_unknown`, `tunnel_unknown`."""
    accounts.get_account(session, account_id, only=who.only_account)
    return tunnels.get_tunnel(session, account_id, tunnel_id.lower())


def shown(tunnel: Tunnel, state: State) -> dict[str, Any]:
    """A tunnel as stock clients read it (api.md 2.2). The secret is never in it."""
    return {
        "id": tunnel.id,
        "account_tag": tunnel.account_id,
        "name": tunnel.name,
        "created_at": rfc3339(tunnel.created_at),
        "deleted_at": rfc3339(tunnel.deleted_at),
        "config_src": tunnel.config_src,
        "remote_config": tunnel.config_src == "cloudflare",
        "status": state.status,
        "tun_type": "cfd_tunnel",
        "conns_active_at": rfc3339(tunnel.conns_active_at),
        "conns_inactive_at": rfc3339(tunnel.conns_inactive_at),
        "connections": [
            shown_connection(connection, connector) for connector, conns in state.connectors for connection in conns
        ],
        "metadata": {},
    }


def shown_connector(connector: Connector, conns: list[Connection]) -> dict[str, Any]:
    """A "client" of api.md 2.3."""
    return {
        "id": connector.id,
        "features": connector.features,
        "version": connector.version,
        "arch": connector.arch,
        "run_at": rfc3339(connector.run_at),
        "config_version": connector.config_version,
        "conns": [shown_connection(connection, connector) for connection in conns],
    }


def shown_connection(connection: Connection, connector: Connector) -> dict[str, Any]:
    """A connection of api.md 2.3; `colo_name` is the edge's location."""
    return {
        "id": connection.id,
        "uuid": connection.id,
        "client_id": connection.connector_id,
        "client_version": connector.version,
        "colo_name": connection.location,
        "is_pending_reconnect": False,
        "opened_at": rfc3339(connection.opened_at),
        "origin_ip": connection.origin_ip,
    }


def connector_token(tunnel: Tunnel, secret: bytes) -> str:
    """The token of api.md 4.1: the same every time, until the secret changes."""
    fields = {"a": tunnel.account_id, "t": tunnel.id, "s": base64.b64encode(secret).decode()}
    return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


def parse_secret(text: str) -> bytes:
    """Standard base64. QanatError `tunnel_bad_secret`; the text itself is never repeated."""
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise QanatError(
            "tunnel_bad_secret",
            "not base64 with padding, of at least 32 bytes",
            where="tunnel_secret",
            hint="leave it out, and a good one is made",
        ) from None
    tunnels.check_secret(secret)
    return secret


def _filters(query: QueryParams) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if name := query.get("name"):
        filters.append(Tunnel.name == name)
    if tunnel_id := query.get("uuid"):
        filters.append(Tunnel.id == tunnel_id.lower())
    match query.get("is_deleted", "").lower():
        case "true":
            filters.append(Tunnel.deleted_at.is_not(None))
        case "false":
            filters.append(Tunnel.deleted_at.is_(None))
    if text := query.get("existed_at"):
        filters.append(tunnels.existed_at(parse_time(text, where="existed_at")))
    if text := query.get("was_active_at"):
        moment = parse_time(text, where="was_active_at")
        filters.append(Tunnel.conns_active_at <= moment)
        filters.append(or_(Tunnel.conns_inactive_at.is_(None), Tunnel.conns_inactive_at > moment))
    if text := query.get("was_inactive_at"):
        moment = parse_time(text, where="was_inactive_at")
        filters.append(
            or_(Tunnel.conns_active_at.is_(None), Tunnel.conns_active_at > moment, Tunnel.conns_inactive_at <= moment)
        )
    for spelling in ("include_prefix", "name_prefix"):
        if prefix := query.get(spelling):
            filters.append(_starts_with(prefix))
    filters.extend(~_starts_with(prefix) for prefix in query.getlist("exclude_prefix") if prefix)
    return filters


def _starts_with(prefix: str) -> ColumnElement[bool]:
    # LIKE ignores case on SQLite; names are case-sensitive.
    return func.substr(Tunnel.name, 1, len(prefix)) == prefix
