"""A tunnel's configuration: changed by a form that the API's own code checks, with what changes shown before it is saved; earlier
versions, and the way back."""

import json
from typing import Any

from starlette.responses import Response

from qanat.control import configurations, tunnels
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.links import tunnel_url, with_query
from qanat.dashboard.paging import Paging
from qanat.dashboard.rules_form import RulesForm
from qanat.errors import QanatError
from qanat.ingress.differences import differences
from qanat.ingress.rules import parse_configuration
from qanat.store.versions import Expected

pages = Pages()

VERSIONS = 25
EDIT = "/tunnels/{tunnel_id}/configuration"


@pages.get(EDIT, "tunnel.edit")
def form(ask: Ask) -> Response:
    """The form, with what is in force."""
    before, version = _in_force(ask)
    return _shown(ask, RulesForm.of(before, version), before)


@pages.post(EDIT, "tunnel.edit")
def sent(ask: Ask) -> Response:
    """Rules were added or moved; or the form shall be checked, or saved."""
    before, _ = _in_force(ask)
    action = ask.form.pop("action", "check")
    rules = RulesForm.read(ask.form)
    if rules.change(action):
        return _shown(ask, rules, before)
    try:
        parsed = parse_configuration(rules.document())
        if action != "save":
            return _shown(ask, rules, before, changes=differences(before, parsed.document), warnings=parsed.warnings)
        return _save(ask, rules, parsed.document)
    except QanatError as error:
        return _shown(ask, rules, before, error=error, status=409 if error.code == "version_stale" else 400)


@pages.get("/tunnels/{tunnel_id}/versions", "tunnel.read")
def versions(ask: Ask) -> Response:
    """Every version that is kept, newest first."""
    tunnel_id, at = ask.place["tunnel_id"], ask.number("page")
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, tunnel_id)
        rows, total = configurations.list_versions(session, tunnel.id, offset=(at - 1) * VERSIONS, limit=VERSIONS)
    paging = Paging.of(at, VERSIONS, total, path=tunnel_url(tunnel_id, "versions"), name="page")
    return ask.show("versions.html", tunnel=tunnel, rows=rows, paging=paging)


@pages.get("/tunnels/{tunnel_id}/versions/{version}", "tunnel.read")
def version(ask: Ask) -> Response:
    """One version: what it changed, and what it would change now."""
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
        found = configurations.get_version(session, tunnel.id, _number(ask))
        newest = configurations.newest(session, tunnel.id)
        earlier: dict[str, Any] = {}
        if found.version > 1:
            try:
                earlier = json.loads(configurations.get_version(session, tunnel.id, found.version - 1).document)
            except QanatError:  # it is forgotten
                earlier = {}
    document = json.loads(found.document)
    in_force = json.loads(newest.document) if newest is not None else {}
    return ask.show(
        "version.html",
        tunnel=tunnel,
        found=found,
        is_newest=newest is not None and newest.version == found.version,
        document=json.dumps(document, indent=2, ensure_ascii=False),
        changed=differences(earlier, document),
        back=differences(in_force, document),
    )


@pages.post("/tunnels/{tunnel_id}/versions/{version}", "tunnel.edit")
def roll_back(ask: Ask) -> Response:
    """An earlier version's document in force again, checked as if it were put now."""
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
        earlier = configurations.get_version(session, tunnel.id, _number(ask))
    ask.desk.count_configuration(tunnel.id)
    document = parse_configuration(json.loads(earlier.document)).document
    with ask.desk.store.writing(ask.who.actor) as write:
        configurations.put(
            write,
            account_id=tunnel.account_id,
            tunnel_id=tunnel.id,
            document=document,
            source=earlier.source,
            rolled_back_to=earlier.version,
        )
    return ask.led_to(with_query(tunnel_url(tunnel.id), saved="back"))


def _save(ask: Ask, rules: RulesForm, document: dict[str, Any]) -> Response:
    tunnel_id = ask.place["tunnel_id"]
    ask.desk.count_configuration(tunnel_id)
    with ask.desk.store.writing(ask.who.actor) as write:
        configurations.put(
            write,
            account_id=ask.viewer.account_id,
            tunnel_id=tunnel_id,
            document=document,
            source="cloudflare",
            expected=Expected(frozenset({str(rules.version)})),
        )
    return ask.led_to(with_query(tunnel_url(tunnel_id), saved="rules"))


def _shown(ask: Ask, rules: RulesForm, before: dict[str, Any], *, status: int = 200, **more: Any) -> Response:
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
    values: dict[str, Any] = {"error": None, "changes": None, "warnings": (), **more}
    return ask.show("configuration.html", status=status, tunnel=tunnel, rules=rules, before=before, **values)


def _in_force(ask: Ask) -> tuple[dict[str, Any], int]:
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
        newest = configurations.newest(session, tunnel.id)
    return (json.loads(newest.document), newest.version) if newest is not None else ({}, 0)


def _number(ask: Ask) -> int:
    text = ask.place["version"]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
