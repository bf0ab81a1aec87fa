"""Where `tunnel login` ends: a user chooses the zone, sees what the certificate may do, and allows it."""

from starlette.responses import Response

from qanat.auth import origin_certificates
from qanat.control import zones
from qanat.control.api_tokens import Row
from qanat.dashboard.ask import Ask, Pages, base_of
from qanat.dashboard.handing import PATH, Callback, parse_callback
from qanat.errors import QanatError
from qanat.store.reach import Reach

pages = Pages()

MOST_ZONES = 1000
KEY_END = 8


@pages.get(PATH, "token.edit", "zone.read")
def asked(ask: Ask) -> Response:
    """Which zone, and what for. Without a callback, the certificate is for the browser to keep."""
    reach = _reach(ask)
    text = ask.query("callback")
    callback = _callback(ask, text) if text else None
    with ask.desk.store.reading() as session:
        found, _ = zones.page(
            session,
            reach=ask.who.reach("zone.read"),
            match_any=False,
            name=None,
            statuses=(),
            account_id=None,
            account_name=None,
            types=(),
            order="name",
            descending=False,
            offset=0,
            limit=MOST_ZONES,
        )
        mine = [(zone, account) for zone, account in found if reach.has_account(account.id)]
    return ask.show(
        "login.html",
        callback=text,
        place=callback.place if callback is not None else "",
        key_end=callback.key[-KEY_END:] if callback is not None else "",
        waiting=ask.desk.handing.waiting(callback.key) if callback is not None else None,
        zones=mine,
    )


@pages.post(PATH, "token.edit", "zone.read")
def allow(ask: Ask) -> Response:
    """Makes the certificate: for the client that waits, or as a file for the browser."""
    _reach(ask)
    text, is_kept = ask.form.get("callback", ""), bool(ask.form.get("keep"))
    callback = _callback(ask, text) if text else None
    if callback is None and not is_kept:
        raise QanatError("login_callback_bad", "no client waits for it", where="callback", hint="keep it as a file")
    with ask.desk.store.writing(ask.viewer.actor) as write:
        value, token, zone = origin_certificates.make(write, ask.who, ask.form.get("zone", ""))
        certificate = origin_certificates.pem(zone, value, api_url=f"{base_of(ask.request)}/client/v4")
        if callback is not None and not is_kept:
            origin_certificates.leave(write, ask.desk.keys.sealer, callback.key, token, certificate)
        name = zone.name
    if is_kept:
        headers = {"content-disposition": 'attachment; filename="cert.pem"'}
        return Response(certificate, headers=headers, media_type="application/x-pem-file")
    ask.desk.handing.granted()
    assert callback is not None
    return _handed(ask, callback, name, token)


def _handed(ask: Ask, callback: Callback, zone: str, token: Row) -> Response:
    return ask.show(
        "login-done.html",
        zone=zone,
        token=token.name,
        waiting=ask.desk.handing.waiting(callback.key),
        minutes=int(origin_certificates.WAITS.total_seconds() // 60),
    )


def _reach(ask: Ask) -> Reach:
    reach = ask.who.reach("token.edit")
    if not any(reach.has_account(each.id) for each in ask.viewer.accounts):
        raise QanatError(
            "permission_missing",
            "the certificate would be a token of the account, which you may not make",
            where="account",
            hint="ask an admin or an owner of the account to open this link",
        )
    return reach


def _callback(ask: Ask, text: str) -> Callback:
    return parse_callback(text, ask.request.url.netloc)
