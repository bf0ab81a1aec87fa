"""`tunnel vnet …`: virtual networks."""

from qanat.cli.stock.command_line import no_uuid, parse_uuid
from qanat.cli.stock.output import Row, Time, is_table, render, say, shown_time, table, whole_seconds
from qanat.cli.stock.session import Session, wrapped
from qanat.errors import QanatError


def add(session: Session) -> None:
    """Makes a virtual network."""
    asked = session.asked
    if not asked.words:
        raise QanatError(
            "usage", "You must supply at least 1 argument, the name of the virtual network you wish to add."
        )
    name = asked.words[0]
    comment = asked.words[1] if len(asked.words) > 1 else ""
    body = {"name": name, "comment": comment, "is_default_network": asked.yes("default")}
    try:
        made: Row = session.one("POST", _path(session), "add virtual network", body=body)
    except QanatError as error:
        raise wrapped("Could not add virtual network", error) from error
    extra = " (as the new default for this account) " if made.get("is_default_network") else ""
    say(f"Successfully added virtual 'network' {name} with ID: {made['id']}{extra}")
    say(f"You can now add IP routes attached to this virtual network. See `{asked.called} tunnel route ip add -help`")


def list_(session: Session) -> None:
    """Lists virtual networks."""
    asked = session.asked
    query = {"is_deleted": "true" if asked.yes("show-deleted") else "false"}
    if asked.text("id"):
        found = parse_uuid(asked.text("id"))
        if found is None:
            message = (
                f"invalid flags for filtering virtual networks: {asked.text('id')} is not a valid virtual network ID: "
                f"{no_uuid(asked.text('id'))}"
            )
            raise QanatError("usage", message, where="--id")
        query["id"] = found
    if asked.text("name"):
        query["name"] = asked.text("name")
    if asked.is_set("is-default"):
        query["is_default"] = "true" if asked.yes("is-default") else "false"
    rows: list[Row] = session.one("GET", _path(session), "list virtual networks", query=query) or []
    form = asked.text("output")
    if not is_table(form):
        render(form, [_shown(row) for row in rows])
        return
    if not rows:
        say(
            "No virtual networks were found for the given filter flags. You can use "
            f"'{asked.called} tunnel vnet add' to add a virtual network."
        )
        return
    shown = [
        (
            row["id"],
            row["name"],
            "true" if row.get("is_default_network") else "false",
            row.get("comment") or "",
            whole_seconds(row.get("created_at")),
            whole_seconds(row["deleted_at"]) if row.get("deleted_at") else "-",
        )
        for row in rows
    ]
    for line in table([("ID", "NAME", "IS DEFAULT", "COMMENT", "CREATED", "DELETED"), *shown]):
        print(line)


def delete(session: Session) -> None:
    """Deletes a virtual network."""
    asked = session.asked
    if not asked.words:
        raise QanatError(
            "usage", "You must supply exactly one argument, either the ID or name of the virtual network to delete"
        )
    word = asked.words[0]
    query = {"force": "true"} if asked.yes("force") else None
    try:
        session.one("DELETE", f"{_path(session)}/{vnet_id(session, word)}", "delete virtual network", query=query)
    except QanatError as error:
        raise _api_error(error) from error
    say(f"Successfully deleted virtual network '{word}'")


def update(session: Session) -> None:
    """Changes a virtual network's name, its comment, or makes it the default."""
    asked = session.asked
    if len(asked.words) != 1:
        raise QanatError(
            "usage",
            " You must supply exactly one argument, either the ID or (current) name of the virtual network to update",
        )
    word = asked.words[0]
    body: dict[str, str | bool] = {flag: asked.text(flag) for flag in ("name", "comment") if asked.is_set(flag)}
    if asked.is_set("default"):
        body["is_default_network"] = asked.yes("default")
    path = f"{_path(session)}/{vnet_id(session, word)}"
    try:
        session.one("PATCH", path, "update virtual network", body=body)
    except QanatError as error:
        raise _api_error(error) from error
    say(f"Successfully updated virtual network '{word}'")


def vnet_id(session: Session, word: str) -> str:
    """By id or name. QanatError `virtual_network_unknown`."""
    found = parse_uuid(word)
    if found is not None:
        return found
    query = {"is_deleted": "false", "name": word}
    rows: list[Row] = session.one("GET", _path(session), "list virtual networks", query=query) if word else []
    if len(rows) != 1:
        raise QanatError("virtual_network_unknown", f"there should only be 1 non-deleted virtual network named {word}")
    return str(rows[0]["id"])


def _api_error(error: QanatError) -> QanatError:
    return error if error.code == "virtual_network_unknown" else wrapped("API error", error)


def _path(session: Session) -> str:
    return f"/accounts/{session.account_id}/teamnet/virtual_networks"


def _shown(row: Row) -> Row:
    return {
        "id": row["id"],
        "comment": row.get("comment") or "",
        "name": row["name"],
        "is_default_network": bool(row.get("is_default_network")),
        "created_at": Time(shown_time(row.get("created_at"))),
        "deleted_at": Time(shown_time(row.get("deleted_at"))),
    }
