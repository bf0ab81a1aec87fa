"""`qanat zone …`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import ZoneArgument, over_api
from qanat.cli.files import read_text, refuse_existing
from qanat.cli.output import print_fields, print_json, print_rows, tell
from qanat.cli.stock.certificate import with_api
from qanat.client import Zone
from qanat.client.profiles import write_secret

app = typer.Typer(no_args_is_help=True, help="Zones: the domains whose hostnames are served.")


@over_api(app, "create", account=True)
def create(at: Access, name: Annotated[str, typer.Argument(help="The domain, such as example.com.")]) -> None:
    """Make a zone."""
    with at.connect() as client:
        zone = client.create_zone(at.account_id(client), name)
    tell(at.output, zone, f"made zone {zone.name} with id {zone.id}")


@over_api(app, "list")
def list_(at: Access, name: Annotated[str | None, typer.Option(help="Only the one of this name.")] = None) -> None:
    """List zones."""
    with at.connect() as client:
        zones = client.zones(name=name)
    if at.as_json:
        print_json(zones)
        return
    print_rows(
        ("ID", "NAME", "STATUS", "ACCOUNT"),
        ((zone.id, zone.name, _state(zone), zone.account.name) for zone in zones),
        empty="there are no zones",
    )


@over_api(app, "show")
def show(at: Access, zone: ZoneArgument) -> None:
    """Show a zone."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        records = len(client.records(found.id))
    if at.as_json:
        print_json(found)
        return
    print_fields(
        (
            ("name", found.name),
            ("id", found.id),
            ("status", _state(found)),
            ("account", f"{found.account.name} ({found.account.id})"),
            ("name servers", ", ".join(found.name_servers or ())),
            ("records", records),
            ("created", found.created_on),
        )
    )


@over_api(app, "pause")
def pause(at: Access, zone: ZoneArgument) -> None:
    """Stop serving a zone's hostnames; its records stay."""
    _set_paused(at, zone, paused=True)


@over_api(app, "resume")
def resume(at: Access, zone: ZoneArgument) -> None:
    """Serve a paused zone's hostnames again."""
    _set_paused(at, zone, paused=False)


@over_api(app, "cutover-policy")
def cutover_policy(
    at: Access,
    zone: ZoneArgument,
    policy: Annotated[
        str | None, typer.Argument(metavar="POLICY", help="enforce, warn, off, or default: as the edge's setting says.")
    ] = None,
) -> None:
    """Show or set what becomes of a record that is repointed from a tunnel that serves to one that doesn't."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        if policy is None:
            told = client.cutover_policy(found.id)
        else:
            told = client.put_cutover_policy(found.id, None if policy == "default" else policy)
    own = told["policy"] or "the edge's"
    tell(at.output, told, f"{found.name}: {told['in_force']} ({own})")


@over_api(app, "https")
def https(
    at: Access,
    zone: ZoneArgument,
    always: Annotated[
        bool | None, typer.Option("--always/--not-always", help="Redirect plain HTTP to HTTPS, or serve it.")
    ] = None,
    hsts_max_age: Annotated[
        int | None,
        typer.Option(
            "--hsts-max-age", min=0, help="Seconds for which browsers use HTTPS only; 0 ends what they remember."
        ),
    ] = None,
    subdomains: Annotated[
        bool, typer.Option("--subdomains", help="HSTS for everything below each hostname too.")
    ] = False,
    preload: Annotated[bool, typer.Option("--preload", help="HSTS may be built into browsers.")] = False,
    nosniff: Annotated[bool, typer.Option("--nosniff", help="Send X-Content-Type-Options: nosniff as well.")] = False,
    no_hsts: Annotated[bool, typer.Option("--no-hsts", help="Send no HSTS of the edge's.")] = False,
) -> None:
    """Show or set whether a zone's hostnames are served over HTTPS only, and what browsers are told of it."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        if always is not None:
            client.set_zone_setting(found.id, "always_use_https", "on" if always else "off")
        if hsts_max_age is not None or no_hsts:
            told = {
                "enabled": not no_hsts,
                "max_age": hsts_max_age or 0,
                "include_subdomains": subdomains,
                "preload": preload,
                "nosniff": nosniff,
            }
            client.set_zone_setting(found.id, "security_header", {"strict_transport_security": told})
        elif subdomains or preload or nosniff:
            raise typer.BadParameter("give --hsts-max-age with it", param_hint="--subdomains, --preload, --nosniff")
        settings = {
            name: client.zone_setting(found.id, name)["value"] for name in ("always_use_https", "security_header")
        }
    if at.as_json:
        print_json(settings)
        return
    hsts = settings["security_header"]["strict_transport_security"]
    print_fields(
        (
            ("zone", found.name),
            ("always HTTPS", settings["always_use_https"]),
            ("HSTS", f"for {hsts['max_age']} s" if hsts["enabled"] else "off"),
            ("with subdomains", hsts["include_subdomains"]),
            ("preload", hsts["preload"]),
            ("nosniff", hsts["nosniff"]),
        )
    )


@over_api(app, "error-page")
def error_page(
    at: Access,
    zone: ZoneArgument,
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="500_errors or 1000_errors (the tunnel has no connection).")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="HTML, at most 32 KiB; `-` reads standard input.")] = None,
    default: Annotated[bool, typer.Option("--default", help="The edge's own page again.")] = False,
) -> None:
    """Show or set a zone's own error pages. `::RAY_ID::`, `::ERROR_BOX::` and others are filled in."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        if kind is not None and file is not None:
            client.put_error_page(found.id, kind, read_text(file))
        elif kind is not None and default:
            client.delete_error_page(found.id, kind)
        pages = [page for page in client.error_pages(found.id) if kind in (None, page["kind"])]
    if at.as_json:
        print_json(pages)
        return
    print_rows(
        ("KIND", "PAGE", "SINCE"),
        (
            (
                page["kind"],
                f"{len(page['content'])} characters" if page["content"] else "the edge's",
                page["modified_on"] or "",
            )
            for page in pages
        ),
        empty=f"there is no kind {kind}",
    )


@over_api(app, "delete")
def delete(
    at: Access, zone: ZoneArgument, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False
) -> None:
    """Delete a zone and its records."""
    with at.connect() as client:
        found = client.zone_itself(zone)
        if not yes:
            typer.confirm(f"Delete {found.name} and its {len(client.records(found.id))} records?", abort=True, err=True)
        client.delete_zone(found.id)
    tell(at.output, {"id": found.id}, f"deleted zone {found.name}")


@over_api(app, "certificate")
def certificate(
    at: Access,
    zone: ZoneArgument,
    file: Annotated[Path, typer.Option("--file", help="Where to write it; an existing file is kept.")] = Path(
        "cert.pem"
    ),
) -> None:
    """Make a cert.pem, with which a stock cloudflared manages tunnels and this zone's hostnames. It holds a secret."""
    refuse_existing(file, where="--file")  # a token would be made that nobody gets
    with at.connect() as client:
        found = client.zone_itself(zone)
        write_secret(file, with_api(client.origin_certificate(found.id), client.base_url), replace=False)
    tell(at.output, {"file": str(file), "zone_id": found.id}, f"wrote {file} for {found.name}; keep it to yourself")


def _set_paused(at: Access, zone: str, *, paused: bool) -> None:
    with at.connect() as client:
        changed = client.pause_zone(client.zone_itself(zone).id, paused=paused)
    tell(at.output, changed, f"zone {changed.name} is {_state(changed)}")


def _state(zone: Zone) -> str:
    return "paused" if zone.paused else zone.status
