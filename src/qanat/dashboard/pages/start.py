"""From nothing to a healthy tunnel: make one, take a command to the host, and see it connect."""

from secrets import token_bytes
from typing import Any, NamedTuple

from starlette.responses import RedirectResponse, Response

from qanat.control import configurations, tunnels, zones
from qanat.control.tunnels import SECRET_BYTES
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.desk import Desk
from qanat.dashboard.hub import stream_url
from qanat.dashboard.links import with_query, zone_url
from qanat.dashboard.render import render
from qanat.dashboard.views import View, watched
from qanat.errors import QanatError

pages = Pages()

MOST_ZONES = 20
"""That a hostname may be put into from here; more are on their own page."""


class Way(NamedTuple):
    """How a host becomes a connector: `where` it is typed, and what."""

    key: str
    label: str
    where: str
    command: str


@pages.get("/start", "tunnel.edit")
def start(ask: Ask) -> Response:
    """The steps; those after the first are of a tunnel."""
    return _shown(ask, ask.query("tunnel"))


@pages.post("/start", "tunnel.edit")
def make(ask: Ask) -> Response:
    """A tunnel."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        made = tunnels.create(
            write,
            ask.desk.keys.sealer,
            account_id=ask.viewer.account_id,
            name=ask.form.get("name", "").strip(),
            secret=token_bytes(SECRET_BYTES),
            config_src="cloudflare",
        )
    return RedirectResponse(with_query("/start", tunnel=made.id), 303)


@pages.post("/start/token", "tunnel.edit")
def show_token(ask: Ask) -> Response:
    """The tunnel's connector token, which the commands read from a file."""
    tunnel_id = ask.form.get("tunnel", "")
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, tunnel_id)
    if tunnel.deleted_at is not None:
        raise QanatError("tunnel_unknown", "the tunnel is deleted")
    secret = tunnels.open_secret(ask.desk.keys.sealer, tunnel)
    return _shown(ask, tunnel_id, token=tunnels.token_text(tunnel, secret, ask.desk.found_by))


@pages.get("/start/hostname", "tunnel.edit", "dns.edit")
def hostname(ask: Ask) -> Response:
    """On to the record's form, with the tunnel chosen."""
    with ask.desk.store.reading() as session:
        zone = zones.get(session, ask.query("zone"), reach=ask.who.reach("dns.edit"))
    return RedirectResponse(
        with_query(zone_url(zone.id, "records/new"), type="CNAME", tunnel=ask.query("tunnel")[:36]), 303
    )


@watched("start", "tunnel.edit", asks=("tunnel",))
def start_parts(desk: Desk, view: View) -> dict[str, str]:
    """Whether it is connected, and well."""
    line = desk.overviews.of(view.account_id).line(view.value("tunnel"))
    return {"connected": render("part/connected.html", line=line)}


def _shown(ask: Ask, tunnel_id: str, *, token: str = "") -> Response:
    found = ask.desk.overviews.of(ask.viewer.account_id)
    line = found.line(tunnel_id)
    if tunnel_id and line is None:
        with ask.desk.store.reading() as session:
            tunnels.get(session, ask.viewer.account_id, tunnel_id)  # it is none of this account's
    version, mine = 0, []
    if line is not None:
        with ask.desk.store.reading() as session:
            newest = configurations.newest(session, line.id)
            version = newest.version if newest is not None else 0
            mine = zones.names(session, ask.viewer.account_id, reach=ask.viewer.reach("dns.edit"), most=MOST_ZONES)
    live: dict[str, Any] = {"live": stream_url("start", tunnel=tunnel_id)} if line is not None else {}
    return ask.show(
        "start.html",
        line=line,
        lines=found.tunnels[:200],
        token=token,
        has_rules=version > 0,
        zones=mine,
        ways=ways(ask, line.name) if line is not None else (),
        **live,
    )


def ways(ask: Ask, name: str) -> tuple[Way, ...]:
    """The commands, with this edge's address in them. The token is in a file: no process list and no shell's history has it."""
    host = ask.desk.found_by.get("edge") or _bracketed(ask.request.url.hostname or "127.0.0.1")
    port = (ask.desk.live.addresses().get("tunnel") or ":7844").rpartition(":")[2]
    edge = host if ":" in host.rpartition("]")[2] else f"{host}:{port}"
    known = bool(ask.desk.found_by)
    flags = "" if known else f" --edge {edge} --cacert ca.pem"
    # a name is anybody's: nothing of it may mean something to a shell
    plain = "".join(each if each.isascii() and each.isalnum() else "-" for each in name)
    api = str(ask.request.base_url) + "client/v4"
    return (
        Way(
            "cloudflared",
            "Stock cloudflared",
            "on the host, beside web.token and the edge's ca.pem",
            f"cloudflared tunnel --edge {edge} --cacert ca.pem run --token-file web.token",
        ),
        Way("qanat", "qanat", "on the host, beside web.token", f"qanat tunnel run --token-file web.token{flags}"),
        Way(
            "service",
            "qanat, as a service",
            "on the host; it starts again with it",
            f"sudo qanat service install -{flags} < web.token",
        ),
        Way(
            "docker",
            "Docker",
            "on the host, beside web.token and the edge's ca.pem",
            "docker run -d --restart unless-stopped --network host -v $PWD:/etc/tunnel:ro cloudflare/cloudflared:latest \\\n"
            f"  tunnel --no-autoupdate --edge {edge} --cacert /etc/tunnel/ca.pem run --token-file /etc/tunnel/web.token",
        ),
        Way(
            "cloud-init",
            "cloud-init",
            "here; give the file to whoever makes the host",
            f"(umask 077; qanat cloud-init --token-file web.token{flags} > user-data)",
        ),
        Way(
            "terraform",
            "Terraform",
            "in place of this page: the stock provider, version 5, with a token of Tokens",
            f"export CLOUDFLARE_BASE_URL={api} CLOUDFLARE_API_TOKEN=…\n"
            'cat > main.tf <<"END"\n'
            'terraform { required_providers { cloudflare = { source = "cloudflare/cloudflare", version = "~> 5" } } }\n'
            'resource "cloudflare_zero_trust_tunnel_cloudflared" "web" {\n'
            f'  account_id = "{ask.viewer.account_id}"\n'
            f'  name       = "{plain}-2"\n'
            '  config_src = "cloudflare"\n'
            "}\nEND\nterraform init && terraform apply",
        ),
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
