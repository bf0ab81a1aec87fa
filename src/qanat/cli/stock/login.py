"""`tunnel login`: cert.pem, by an API token of ours, or granted on a page in the browser as stock's is."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import structs

from qanat.cli.stock import browser, certificate
from qanat.cli.stock.session import Session
from qanat.client.profiles import write_secret
from qanat.connector.sources import SEARCH_PATHS
from qanat.errors import QanatError

PAGE = "https://dash.cloudflare.com/argotunnel"
OURS = "/argotunnel"
"""The page of an edge, and below it the place where it leaves certificates."""
GOVERNMENT_PAGE = "https://dash.fed.cloudflare.com/argotunnel"
GOVERNMENT_STORE = "https://login.fed.cloudflareaccess.org/"


def login(session: Session) -> None:
    """Writes cert.pem where every command looks for it. One that is there is kept."""
    asked = session.asked
    if asked.words:
        raise asked.usage(f'"{asked.called} tunnel login" takes no arguments.')
    path = Path(session.in_home(asked.text("file") or f"{SEARCH_PATHS[0]}/{certificate.NAME}"))
    if path.is_file() and path.stat().st_size:
        session.log.error(
            f"You have an existing certificate at {path} which login would overwrite. If this is intentional, please move or "
            "delete that file then run this command again."
        )
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise QanatError("file_unwritable", f"{path.parent}: {error.strerror}") from None
    by_page = any(asked.is_set(flag) for flag in ("loginURL", "callbackURL", "fedramp"))
    text = _by_page(session) if by_page or not session.names_control_plane else _by_token(session)
    write_secret(path, text, replace=True)
    session.log.info(
        f"You have successfully logged in. If you wish to copy your credentials to a server, they have been saved to: {path}"
    )


def _by_token(session: Session) -> str:
    """Made by the API for one zone: the one that is named, or the only one."""
    plane = session.plane
    with plane.connect() as client:
        account_id = plane.account_id(client)
        named = session.asked.text("zone")
        zones = [zone for zone in client.zones() if zone.account.id == account_id]
        if named:
            zone_id = client.zone_itself(named).id
        elif len(zones) == 1:
            zone_id = zones[0].id
        else:
            names = ", ".join(zone.name for zone in zones[:10]) or "none"
            raise QanatError(
                "zone_unknown",
                f"a certificate is for one zone, and the account has {len(zones)}: {names}",
                where="--zone",
                hint="name it by --zone example.com" if zones else "make one: qanat zone create example.com",
            )
        return certificate.with_api(client.origin_certificate(zone_id), client.base_url)


def _by_page(session: Session) -> str:
    asked = session.asked
    government = asked.yes("fedramp")
    page, store = (GOVERNMENT_PAGE, GOVERNMENT_STORE) if government else _places(session)
    if not store.startswith(("http://", "https://")):
        raise QanatError("flag_value_invalid", f"'{store[:80]}' is no URL", where="--callbackURL")
    where = store + browser.new_key()
    browser.show(browser.page(page, callback=where, aud=""), "cert")
    try:
        found = certificate.decode(browser.fetch(where, session.log).body.decode("utf-8", "replace"))
    except QanatError as error:
        session.log.error(
            "Failed to write the certificate. Your browser will download the certificate instead. You will have to manually copy "
            f"it to {SEARCH_PATHS[0]}/{certificate.NAME}",
            error=error.message,
        )
        raise
    if government:
        found = structs.replace(found, endpoint="fed")
    api = session.settings.get("api-url", "")
    return certificate.encode(structs.replace(found, api_url=found.api_url or api))


def _places(session: Session) -> tuple[str, str]:
    """The page, and the place where it leaves the certificate: as they are named, else of the edge whose API or page is named,
    else those of the hosted service."""
    asked = session.asked
    page, store = asked.text("loginURL"), asked.text("callbackURL")
    if not asked.is_set("loginURL"):
        api = session.plane.api or os.environ.get("QANAT_API")
        page = _origin(api) + OURS if api else PAGE
    if not asked.is_set("callbackURL"):
        host = urlsplit(page).hostname or ""
        is_hosted = host == "cloudflare.com" or host.endswith(".cloudflare.com")
        store = browser.STORE if is_hosted else f"{_origin(page)}{urlsplit(page).path.rstrip('/')}/"
    return page, store


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
