"""One's own account: password, second factor, and where one is signed in."""

from io import BytesIO

import segno
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from qanat.auth import passkeys, second_factor
from qanat.auth.oidc import identities
from qanat.control import users
from qanat.dashboard import provider
from qanat.dashboard.ask import Ask, Pages, address_of
from qanat.dashboard.signing import needed_site, site_of, who
from qanat.errors import QanatError

pages = Pages()


@pages.get("/me", "user.read")
def me(ask: Ask) -> Response:
    """What there is of oneself."""
    return _shown(ask)


@pages.post("/me/password", "user.edit")
def change_password(ask: Ask) -> Response:
    """Another password; every other session ends."""
    user_id = _person(ask)
    if ask.form.get("password", "") != ask.form.get("again", ""):
        raise QanatError("password_weak", "the two passwords differ", where="again", hint="type it twice")
    signing = ask.desk.door.signing
    signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    hashed = signing.passwords.hashed(ask.form["password"], email=ask.viewer.name)
    with ask.desk.store.writing(ask.viewer.actor) as write:
        users.set_password(write, user_id, hashed, keep_session=ask.viewer.session_id)
    return _shown(ask, done="Your password is changed, and your other sessions have ended.")


@pages.post("/me/authenticator", "user.edit")
def begin_authenticator(ask: Ask) -> Response:
    """A new secret for an app, as a QR code."""
    user_id = _person(ask)
    ask.desk.door.signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        secret = second_factor.begin(write, ask.desk.keys.sealer, user_id)
    return _authenticator(ask, secret)


@pages.post("/me/authenticator/confirm", "user.edit")
def confirm_authenticator(ask: Ask) -> Response:
    """The app's first code, and with it the recovery codes."""
    user_id = _person(ask)
    try:
        with ask.desk.store.writing(ask.viewer.actor) as write:
            codes = second_factor.confirm(write, ask.desk.keys.sealer, user_id, ask.form.get("code", ""))
    except QanatError as error:
        with ask.desk.store.reading() as session:
            secret = second_factor.begun(session, ask.desk.keys.sealer, user_id)
        if error.code != "code_refused" or secret is None:
            raise
        return _authenticator(ask, secret, error)
    return ask.show("recovery-codes.html", codes=codes)


@pages.post("/me/authenticator/remove", "user.edit")
def remove_authenticator(ask: Ask) -> Response:
    """The password alone is asked for from now on."""
    user_id = _person(ask)
    ask.desk.door.signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        second_factor.remove(write, user_id)
    return _shown(ask, done="The app is asked for no more.")


@pages.post("/me/passkeys/options", "user.edit")
def begin_passkey(ask: Ask) -> Response:
    """What the browser makes a passkey by: of this session, once."""
    from qanat.auth import passkey_answers

    user_id, signing = _person(ask), ask.desk.door.signing
    site = needed_site(ask.request)
    signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    challenge = passkeys.new_challenge(site, user_id)
    with ask.desk.store.reading() as session:
        options = passkey_answers.registration_options(session, challenge)
    signing.challenges.put(f"session {ask.viewer.session_id}", challenge, address=address_of(ask.request))
    return Response(options, media_type="application/json")


@pages.post("/me/passkeys", "user.edit")
def add_passkey(ask: Ask) -> Response:
    """Another way in."""
    from qanat.auth import passkey_answers

    user_id = _person(ask)
    challenge = ask.desk.door.signing.challenges.take(f"session {ask.viewer.session_id}")
    if challenge is None or challenge.user_id != user_id:
        raise QanatError("sign_in_over", "it took too long", hint="add the passkey again")
    with ask.desk.store.writing(ask.viewer.actor) as write:
        row, codes = passkey_answers.register(
            write, challenge, ask.form.get("credential", ""), name=ask.form.get("name", "").strip()
        )
        name = row.name
    return (
        ask.show("recovery-codes.html", codes=codes) if codes else _shown(ask, done=f"{name} signs you in from now on.")
    )


@pages.post("/me/passkeys/{passkey_id}/name", "user.edit")
def rename_passkey(ask: Ask) -> Response:
    """Its name."""
    user_id = _person(ask)
    with ask.desk.store.writing(ask.viewer.actor) as write:
        passkeys.rename(write, ask.place["passkey_id"], user_id=user_id, name=ask.form.get("name", "").strip())
    return RedirectResponse("/me", 303)


@pages.post("/me/passkeys/{passkey_id}/remove", "user.edit")
def remove_passkey(ask: Ask) -> Response:
    """It is refused from now on."""
    user_id = _person(ask)
    ask.desk.door.signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        passkeys.remove(write, ask.place["passkey_id"], user_id=user_id)
    return RedirectResponse("/me", 303)


@pages.post("/me/recovery-codes", "user.edit")
def renew_recovery_codes(ask: Ask) -> Response:
    """Others, in place of those of before."""
    user_id = _person(ask)
    ask.desk.door.signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        codes = second_factor.renew_recovery_codes(write, user_id)
    return ask.show("recovery-codes.html", codes=codes)


@pages.post("/me/provider", "user.edit")
def link(ask: Ask) -> Response:
    """Leads to the provider, by a link: a form may lead nowhere else."""
    user_id, desk = _person(ask), ask.desk
    if desk.provider is None:
        raise QanatError("page_unknown", "no provider is set", where="control.oidc")
    desk.door.signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    url, secret = provider.begin(desk, ask.request, following="/me", session_id=ask.viewer.session_id, user_id=user_id)
    return provider.bind(ask.request, ask.show("provider-link.html", url=url), secret)


@pages.post("/me/provider/remove", "user.edit")
def unlink(ask: Ask) -> Response:
    """The provider signs nobody in as this user."""
    user_id = _person(ask)
    ask.desk.door.signing.check_again(user_id, ask.form.get("current", ""), who(ask.request))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        identities.unlink(write, user_id)
    return RedirectResponse("/me", 303)


@pages.post("/me/sessions/{session_id}/end", "user.edit")
def end_session(ask: Ask) -> Response:
    """Signs out there."""
    user_id = _person(ask)
    with ask.desk.store.writing(ask.viewer.actor) as write:
        ask.desk.door.signing.sessions.end(write, ask.place["session_id"], user_id=user_id)
    return RedirectResponse("/me", 303)


@pages.post("/me/sessions/end", "user.edit")
def end_other_sessions(ask: Ask) -> Response:
    """Signs out everywhere but here."""
    user_id = _person(ask)
    with ask.desk.store.writing(ask.viewer.actor) as write:
        ask.desk.door.signing.sessions.end_all(write, user_id=user_id, but=ask.viewer.session_id)
    return RedirectResponse("/me", 303)


def _person(ask: Ask) -> str:
    """An API token, and who has one, is nobody's self."""
    if not ask.viewer.is_person:
        raise QanatError("permission_missing", "this is a user's own", hint="sign in with your password")
    return ask.viewer.user_id


def _shown(ask: Ask, *, done: str = "") -> Response:
    user_id = _person(ask)
    with ask.desk.store.reading() as session:
        person = users.get(session, user_id)
        sessions = ask.desk.door.signing.sessions.listed(session, user_id)
        codes_left = second_factor.recovery_codes_left(session, user_id)
        has_app = second_factor.has_app(session, user_id)
        mine = passkeys.listed(session, user_id)
        elsewhere = identities.of_user(session, user_id)
    names = {each.id: each.name for each in ask.viewer.accounts}
    return ask.show(
        "me.html",
        person=person,
        names=names,
        sessions=sessions,
        codes_left=codes_left,
        has_app=has_app,
        passkeys=mine,
        identities=elsewhere,
        site=site_of(ask.request),
        done=done,
    )


def _authenticator(ask: Ask, secret: str, error: QanatError | None = None) -> Response:
    uri = second_factor.uri(secret, ask.viewer.name)
    spelt = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    return ask.show("authenticator.html", code=qr_code(uri), secret=spelt, error=error, status=401 if error else 200)


def qr_code(text: str) -> Markup:
    """As an SVG element: no picture is fetched, and none is kept. Black on white in either theme, as cameras want it."""
    out = BytesIO()
    segno.make(text, error="m").save(
        out, kind="svg", xmldecl=False, svgns=False, border=3, scale=4, light="#fff", svgclass="qr", lineclass=None
    )
    return Markup(out.getvalue().decode())  # made here, of nothing but squares
