"""`qanat certificate …`."""

from pathlib import Path
from typing import Annotated

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import print_fields, print_json, print_rows, tell
from qanat.client import Certificate
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Public certificates: uploaded ones, and those that CAs issue.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A hostname of the certificate, or its id.")]


@over_api(app, "list")
def list_(at: Access, zone: Annotated[str | None, typer.Option(help="Only of this zone.")] = None) -> None:
    """List certificates and those that are being ordered, with their ends and what last went wrong."""
    with at.connect() as client:
        found = client.certificates(zone_id=client.zone_itself(zone).id if zone is not None else None)
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("NAMES", "STATUS", "SOURCE", "ISSUER", "ENDS", "LAST ERROR", "ID"),
        (
            (_names(each), each.status, each.source, each.issuer, each.not_after, _error(each), each.id)
            for each in found
        ),
        empty="there are no certificates; `qanat edge --acme-email` has them ordered, `qanat certificate upload` adds one",
    )


@over_api(app, "show")
def show(at: Access, name: NameArgument) -> None:
    """Show a certificate: its ends, when it is renewed, and why the last order failed."""
    with at.connect() as client:
        found = client.find_certificate(name)
    if at.as_json:
        print_json(found)
        return
    print_fields(
        (
            ("names", ", ".join(found.names)),
            ("id", found.id),
            ("status", found.status),
            ("source", found.source),
            ("zone", found.zone_name),
            ("issuer", found.issuer),
            ("CA", found.authority),
            ("SHA-256", found.fingerprint),
            ("from", found.not_before),
            ("to", found.not_after),
            ("renewed from", found.renew_at),
            ("next attempt", found.next_attempt_at),
            ("failures", found.failures or None),
            ("last error", _error(found)),
            ("at", found.last_error.at if found.last_error is not None else None),
        )
    )


@over_api(app, "upload")
def upload(
    at: Access,
    zone: Annotated[str, typer.Argument(help="The zone that its names are in.")],
    chain_file: Annotated[Path, typer.Option(help="PEM file: the leaf, then its intermediates.")],
    key_file: Annotated[Path, typer.Option(help="PEM file: the leaf's private key.")],
) -> None:
    """Upload a certificate: it is served at once, before any that a CA issued."""
    with at.connect() as client:
        made = client.upload_certificate(client.zone_itself(zone).id, _text(chain_file), _text(key_file))
    tell(at.output, made, f"uploaded a certificate for {_names(made)}, good until {made.not_after}")


@over_api(app, "renew")
def renew(at: Access, name: NameArgument) -> None:
    """Order another certificate now, or as soon as the CA allows it; the one before is served until then."""
    with at.connect() as client:
        found = client.renew_certificate(client.find_certificate(name).id)
    tell(at.output, found, f"ordering a certificate for {_names(found)}")


@over_api(app, "delete")
def delete(at: Access, name: NameArgument) -> None:
    """Delete a certificate with its key. One of a CA is ordered anew while its hostname has a record."""
    with at.connect() as client:
        found = client.delete_certificate(client.find_certificate(name).id)
    tell(at.output, {"id": found.id}, f"deleted the certificate for {_names(found)}")


def _names(certificate: Certificate) -> str:
    shown = ", ".join(certificate.names[:3])
    return shown if len(certificate.names) <= 3 else f"{shown}, …"


def _error(certificate: Certificate) -> str | None:
    error = certificate.last_error
    return f"{error.code}: {error.reason}" if error is not None else None


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not PEM"
        raise QanatError("certificate_unreadable", f"{file}: {reason}", where=str(file)) from error
