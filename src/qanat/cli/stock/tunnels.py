"""`tunnel create`, `list`, `info`, `delete`, `cleanup`, `token`."""

import base64
import binascii
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from qanat.cli.stock import credentials
from qanat.cli.stock.command_line import Invocation, no_uuid, parse_uuid
from qanat.cli.stock.output import (
    Row,
    Time,
    go_time,
    is_table,
    render,
    say,
    shown_time,
    table,
    unix_seconds,
    whole_seconds,
)
from qanat.cli.stock.session import Session, said, wrapped
from qanat.client import ApiRefusedError
from qanat.errors import QanatError

SECRET_BYTES = 32
LIST_FIELDS = ("name", "id", "createdAt", "deletedAt", "numConnections")
INFO_FIELDS = ("id", "startedAt", "numConnections", "version")


def create(session: Session) -> None:
    """Makes a tunnel, and its credentials file where it is made by cert.pem or a file is named."""
    asked = session.asked
    if len(asked.words) != 1:
        raise asked.usage(f'"{asked.called} tunnel create" requires exactly 1 argument, the name of tunnel to create.')
    try:
        made = make(
            session,
            asked.words[0],
            file=asked.text("credentials-file"),
            secret=asked.text("secret"),
            source=_source(asked),
        )
    except QanatError as error:
        raise wrapped("failed to create tunnel", error) from error
    form = asked.text("output")
    if not is_table(form):
        shown = shown_tunnel(made.tunnel)
        token = made.tunnel.get("token") or ""
        render(form, {"tunnel": shown, "token": token} if form == "yaml" else {**shown, "token": token})
        return
    if made.file:
        chosen = (
            f" {asked.called} chose this file based on where your origin certificate was found." if made.chosen else ""
        )
        say(
            f"Tunnel credentials written to {made.file}.{chosen} Keep this file secret. To revoke these credentials, delete "
            "the tunnel.\n"
        )
    say(f"Created tunnel {made.tunnel['name']} with id {made.tunnel['id']}")
    if not made.file:
        say(f"Its connector token: qanat tunnel token {made.tunnel['name']}")


class Made:
    """A new tunnel; `file`: its credentials file, "" without one; `chosen`: nobody named the file; `secret` in base64."""

    def __init__(self, tunnel: Row, secret: str, file: str, chosen: bool) -> None:
        self.tunnel = tunnel
        self.secret = secret
        self.file = file
        self.chosen = chosen


def make(session: Session, name: str, *, file: str, secret: str, source: str) -> Made:
    """The tunnel, and its credentials file; without that the tunnel is deleted again. QanatError in stock's words."""
    try:
        certificate = session.certificate
        account_id = session.account_id
    except QanatError as error:
        raise wrapped("couldn't create client to talk to Cloudflare Tunnel backend", error) from error
    text = _secret(secret) if secret else base64.b64encode(os.urandom(SECRET_BYTES)).decode()
    if not name:
        raise QanatError("usage", "Create Tunnel API call failed: tunnel name required")
    if parse_uuid(name) is not None:
        raise QanatError("usage", "Create Tunnel API call failed: you cannot use UUIDs as tunnel names")
    # stock says nothing of where the rules come from, which means its file; who comes with a token sets them by the API
    source = source or ("" if certificate is not None else "cloudflare")
    body = {"name": name, "tunnel_secret": text, **({"config_src": source} if source else {})}
    try:
        tunnel: Row = session.client.result("POST", session.tunnels_path, body=body)
    except ApiRefusedError as error:
        if error.status == 409:
            raise QanatError(
                "api_refused", f"Create Tunnel API call failed: tunnel with name already exists ({error.message})"
            ) from error
        raise said("Create Tunnel API call failed: Failed to create tunnel", error) from error
    except QanatError as error:
        raise said("Create Tunnel API call failed: REST request failed", error) from error
    path, chosen = session.in_home(file), False
    if not path and certificate is not None:
        path, chosen = str(certificate.folder / f"{tunnel['id']}.json"), True
    if path:
        endpoint = certificate.endpoint if certificate is not None else ""
        try:
            credentials.write(path, account_id=account_id, secret=text, tunnel_id=tunnel["id"], endpoint=endpoint)
        except QanatError as error:
            raise _unwritten(session, tunnel, path, error) from error
    return Made(tunnel, text, path, chosen)


def _source(asked: Invocation) -> str:
    source = asked.text("config-src")
    if source not in ("", "local", "cloudflare"):
        raise QanatError(
            "flag_value_invalid",
            f"'{source[:40]}' is not where rules can come from",
            where="--config-src",
            hint="use local (the connector's file) or cloudflare (the API)",
        )
    return source


def _secret(text: str) -> str:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise QanatError(
            "usage", "Couldn't decode tunnel secret from base64: illegal base64 data", where="--secret"
        ) from None
    if len(decoded) < SECRET_BYTES:
        raise QanatError("usage", "Decoded tunnel secret must be at least 32 bytes long", where="--secret")
    return base64.b64encode(decoded).decode()


def _unwritten(session: Session, tunnel: Row, path: str, error: QanatError) -> QanatError:
    lines = [
        f"Your tunnel '{tunnel['name']}' was created with ID {tunnel['id']}. However, {session.asked.called} couldn't write "
        f"tunnel credentials to {path}.",
        f"The file-writing error is: {error.message}",
    ]
    try:
        session.client.result("DELETE", f"{session.tunnels_path}/{tunnel['id']}", query={"cascade": "true"})
        lines.append("The tunnel was deleted, because the tunnel can't be run without the credentials file")
    except QanatError as refused:
        lines.append(
            f"It could not be deleted. You should use `{session.asked.called} tunnel delete {tunnel['id']}` to delete the tunnel "
            "yourself, because the tunnel can't be run without the tunnelfile."
        )
        lines.append(f"The delete tunnel error is: {refused.message}")
    return QanatError(error.code, "\n".join(lines))


def list_(session: Session) -> None:
    """Lists tunnels."""
    asked = session.asked
    query: dict[str, str | int] = {}
    if asked.yes("deleted"):
        query["is_deleted"] = "true"
    elif not asked.yes("show-deleted"):
        query["is_deleted"] = "false"
    for flag, key in (("name", "name"), ("name-prefix", "name_prefix"), ("exclude-name-prefix", "exclude_prefix")):
        if asked.text(flag):
            query[key] = asked.text(flag)
    if asked.text("when"):
        query["existed_at"] = _moment(asked)
    if asked.text("id"):
        tunnel_id = parse_uuid(asked.text("id"))
        if tunnel_id is None:
            raise QanatError(
                "usage",
                f"{asked.text('id')} is not a valid tunnel ID: {no_uuid(asked.text('id'))}",
                where=asked.place("id"),
            )
        query["uuid"] = tunnel_id
    tunnels = session.listed(session.tunnels_path, query)
    keys: dict[str, Callable[[Row], Any]] = {
        "name": lambda row: row["name"],
        "id": lambda row: row["id"],
        "createdAt": lambda row: unix_seconds(row.get("created_at")),
        "deletedAt": lambda row: unix_seconds(row.get("deleted_at")),
        "numConnections": lambda row: len(row.get("connections") or ()),
    }
    tunnels = _sorted(session, tunnels, keys, default="name", named=", ".join(LIST_FIELDS))
    form = asked.text("output")
    if not is_table(form):
        render(form, [shown_tunnel(row) for row in tunnels])
        return
    if not tunnels:
        say(
            "No tunnels were found for the given filter flags. You can use "
            f"'{asked.called} tunnel create' to create a tunnel."
        )
        return
    say(f"You can obtain more detailed information for each tunnel with `{asked.called} tunnel info <name/uuid>`")
    lost = asked.yes("show-recently-disconnected")
    rows = [
        (row["id"], row["name"], whole_seconds(row.get("created_at")), _places(row.get("connections"), lost=lost))
        for row in tunnels
    ]
    for line in table([("ID", "NAME", "CREATED", "CONNECTIONS"), *rows]):
        print(line)


def _moment(asked: Invocation) -> str:
    text = asked.text("when")
    try:
        found = datetime.fromisoformat(text)
        if "T" not in text or found.tzinfo is None:
            raise ValueError(text)
    except ValueError:
        raise QanatError(
            "flag_value_invalid", f"'{text[:40]}' is not a time", where=asked.place("when"), hint="2026-01-31T12:00:00Z"
        ) from None
    return text


def _sorted(
    session: Session, rows: list[Row], keys: dict[str, Callable[[Row], Any]], *, default: str, named: str
) -> list[Row]:
    by = session.asked.text("sort-by") or default
    if by not in keys:
        session.log.error(
            f"{by[:40]} is not a valid sort field. Valid sort fields are {named}. Defaulting to '{default}'."
        )
        by = default
    return sorted(rows, key=keys[by])[:: -1 if session.asked.yes("invert-sort") else 1]


def info(session: Session) -> None:
    """Shows a tunnel's connectors."""
    asked = session.asked
    if len(asked.words) != 1:
        raise asked.usage(
            f'"{asked.called} tunnel info" accepts exactly one argument, the ID or name of the tunnel to get info about.'
        )
    tunnel_id = _parsed(session, asked.words[0])
    path = f"{session.tunnels_path}/{tunnel_id}/connections"
    connectors: list[Row] = session.one("GET", path, "list connection details") or []
    keys: dict[str, Callable[[Row], Any]] = {
        "id": lambda row: row["id"],
        "createdAt": lambda row: unix_seconds(row.get("run_at")),
        "startedAt": lambda row: unix_seconds(row.get("run_at")),  # what stock's help says
        "numConnections": lambda row: len(row.get("conns") or ()),
        "version": lambda row: row.get("version") or "",
    }
    connectors = _sorted(session, connectors, keys, default="createdAt", named=", ".join(INFO_FIELDS))
    found = session.listed(session.tunnels_path, {"uuid": tunnel_id})
    if len(found) != 1:
        raise QanatError(
            "tunnel_unknown", f"Expected to find a single tunnel with uuid {tunnel_id} but found {len(found)} tunnels."
        )
    tunnel = found[0]
    form = asked.text("output")
    if not is_table(form):
        shown = [shown_connector(row) for row in connectors]
        created = Time(shown_time(tunnel.get("created_at")))
        render(
            form,
            {
                "id": tunnel["id"],
                "name": tunnel["name"],
                "createdAt": created,
                ("connectors" if form == "yaml" else "conns"): shown,
            },
        )
        return
    if not connectors:
        say(f"Your tunnel {tunnel_id} does not have any active connection.")
        return
    _print_connectors(tunnel, connectors, lost=asked.yes("show-recently-disconnected"))


def _print_connectors(tunnel: Row, connectors: list[Row], *, lost: bool) -> None:
    shown = [(row, places) for row in connectors if (places := _places(row.get("conns"), lost=lost))]
    head = f"NAME:     {tunnel['name']}\nID:       {tunnel['id']}\nCREATED:  {go_time(tunnel.get('created_at'))}\n"
    if not shown:
        say("This tunnel has no active connectors.")
        say(head)
        return
    say(head)
    rows = [
        (
            row["id"],
            whole_seconds(row.get("run_at")),
            row.get("arch") or "",
            row.get("version") or "",
            row["conns"][0].get("origin_ip") or "<nil>",
            places,
        )
        for row, places in shown
    ]
    for line in table([("CONNECTOR ID", "CREATED", "ARCHITECTURE", "VERSION", "ORIGIN IP", "EDGE"), *rows]):
        print(line)


def delete(session: Session) -> None:
    """Deletes tunnels and their credentials files."""
    asked = session.asked
    if not asked.words:
        raise asked.usage(
            f'"{asked.called} tunnel delete" requires at least 1 argument, the ID or name of the tunnel to delete.'
        )
    file = session.in_home(asked.text("credentials-file"))
    for tunnel_id in session.tunnel_ids(asked.words):
        path = f"{session.tunnels_path}/{tunnel_id}"
        try:
            tunnel: Row = session.one("GET", path, "get tunnel")
        except QanatError as error:
            about = f"Can't get tunnel information. Please check tunnel id: {tunnel_id}"
            raise wrapped(about, error) from error
        if tunnel.get("deleted_at"):
            raise QanatError("tunnel_unknown", f"Tunnel {tunnel_id} has already been deleted")
        try:
            session.one("DELETE", path, "delete tunnel", query={"cascade": "true"} if asked.yes("force") else None)
        except QanatError as error:
            raise wrapped(f"Error deleting tunnel {tunnel_id}", error) from error
        found = credentials.find(session, tunnel_id, file)
        if found is None:
            continue
        try:
            os.unlink(found)  # noqa: PTH108
        except OSError as failure:
            session.log.info(
                f"Tunnel {tunnel_id} was deleted, but we could not remove its credentials file  {found}: {failure.strerror}. "
                "Consider deleting this file manually."
            )


def cleanup(session: Session) -> None:
    """Drops tunnels' connections."""
    asked = session.asked
    if not asked.words:
        raise asked.usage(
            f'"{asked.called} tunnel cleanup" requires at least 1 argument, the IDs of the tunnels to cleanup connections.'
        )
    ids = session.tunnel_ids(asked.words)
    query, extra = None, ""
    if asked.text("connector-id"):
        connector = parse_uuid(asked.text("connector-id"))
        if connector is None:
            raise QanatError(
                "usage",
                f"{asked.text('connector-id')} is not a valid client ID (must be a UUID): {no_uuid(asked.text('connector-id'))}",
                where=asked.place("connector-id"),
            )
        query, extra = {"client_id": connector}, f" for connector-id {connector}"
    for tunnel_id in ids:
        session.log.info(f"Cleanup connection for tunnel {tunnel_id}{extra}")
        try:
            session.one("DELETE", f"{session.tunnels_path}/{tunnel_id}/connections", "cleanup connections", query=query)
        except QanatError as error:
            session.log.error(f"Error cleaning up connections for tunnel {tunnel_id}, error :{error.message}")


def token(session: Session) -> None:
    """Prints a tunnel's token, or writes it as a credentials file."""
    asked = session.asked
    if len(asked.words) != 1:
        raise asked.usage(
            f'"{asked.called} tunnel token" requires exactly 1 argument, the name or UUID of tunnel to fetch the '
            "credentials token for."
        )
    file = session.in_home(asked.text("credentials-file"))
    tunnel_id = _parsed(session, asked.words[0], file)
    try:
        text = str(session.one("GET", f"{session.tunnels_path}/{tunnel_id}/token", "get tunnel token"))
    except QanatError as error:
        session.log.error(f"Could not get the Token for the given Tunnel {tunnel_id}", error=error.message)
        raise
    form = asked.text("output")
    if not file and is_table(form):
        say(text)
        return
    if not file:
        render(form, {"token": text})
        return
    fields = _token_fields(text)
    try:
        credentials.write(
            file,
            account_id=fields.get("a", ""),
            secret=fields.get("s", ""),
            tunnel_id=fields.get("t", tunnel_id),
            endpoint=fields.get("e", ""),
        )
    except QanatError as error:
        raise wrapped(f"error writing token credentials to JSON file in path {file}", error) from error


def _token_fields(text: str) -> dict[str, str]:
    try:
        found = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise QanatError("token_invalid", "the API's answer is not a tunnel token")
    return {str(key): str(value) for key, value in found.items() if isinstance(value, str)}


def _parsed(session: Session, word: str, file: str = "") -> str:
    try:
        return session.tunnel_id(word, credentials_file=file)
    except QanatError as error:
        raise wrapped("error parsing tunnel ID", error) from error


def _places(connections: object, *, lost: bool) -> str:
    """`2xlab01, 2xlab02`."""
    rows = connections if isinstance(connections, list) else []
    counted = Counter(str(row.get("colo_name")) for row in rows if lost or not row.get("is_pending_reconnect"))
    return ", ".join(f"{counted[place]}x{place}" for place in sorted(counted))


def shown_tunnel(row: Row) -> dict[str, Any]:
    """As stock shows a tunnel."""
    connections = row.get("connections")
    return {
        "id": row["id"],
        "name": row["name"],
        "created_at": Time(shown_time(row.get("created_at"))),
        "deleted_at": Time(shown_time(row.get("deleted_at"))),
        "connections": [_shown_connection(each) for each in connections] if isinstance(connections, list) else [],
    }


def shown_connector(row: Row) -> dict[str, Any]:
    """As stock shows a connector."""
    return {
        "id": row["id"],
        "features": row.get("features"),
        "version": row.get("version") or "",
        "arch": row.get("arch") or "",
        "run_at": Time(shown_time(row.get("run_at"))),
        "conns": [_shown_connection(each) for each in row.get("conns") or ()],
    }


def _shown_connection(row: Row) -> dict[str, Any]:
    return {
        "colo_name": row.get("colo_name") or "",
        "id": row["id"],
        "is_pending_reconnect": bool(row.get("is_pending_reconnect")),
        "origin_ip": row.get("origin_ip") or "",
        "opened_at": Time(shown_time(row.get("opened_at"))),
    }
