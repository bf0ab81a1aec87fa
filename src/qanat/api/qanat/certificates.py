"""`/qanat/certificates`: public certificates, uploaded or of CAs, with their ends and what last went wrong."""

from typing import Annotated, Literal, cast

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.filters import storable
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import CertificatePath, ZonePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import MOMENT
from qanat.certificates import stored
from qanat.certificates.stored import Entry
from qanat.control import zones
from qanat.control.principal import Principal
from qanat.errors import QanatError

router = resource(prefix="/qanat", tags=["qanat"])

Source = Literal["acme", "uploaded", "file"]
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
CHAIN = "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIGH…\n-----END PRIVATE KEY-----\n"


class CertificateUpload(BaseModel):
    """A certificate with its key."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    certificate: str = Field(examples=[CHAIN], description="PEM: the leaf, then its intermediates", max_length=100_000)
    private_key: str = Field(examples=[KEY], description="PEM, without passphrase", max_length=20_000, repr=False)


class CertificateErrorShape(Shape):
    """Why the last order failed."""

    code: Annotated[str, Field(examples=["acme_validation_failed"])]
    reason: Annotated[str, Field(examples=["the CA could not check that the name leads here: http-01: no answer"])]
    at: Annotated[str, Field(examples=[MOMENT])]


class CertificateShape(Shape):
    """A certificate, or one that is being ordered. Its key is never shown."""

    id: Annotated[str, Field(examples=["5b7c29f2-6a5e-4f43-9f5f-0f1b7c2f9a11"])]
    names: Annotated[list[str], Field(examples=[["app.example.com"]])]
    source: Annotated[Source, Field(description="file: of the edge's host, as tls.certificates names it")]
    status: Annotated[
        Literal["active", "expiring", "expired", "pending", "failing"],
        Field(description="expiring: it ends soon, and should have been renewed; pending, failing: there is none yet"),
    ]
    zone_id: Annotated[
        str | None, Field(examples=["023e105f4ecef8ad9ca31a8372d0c353"], description="null: the edge's own")
    ]
    zone_name: Annotated[str | None, Field(examples=["example.com"])]
    issuer: Annotated[str | None, Field(examples=["R11"])]
    authority: Annotated[
        str | None, Field(examples=[LETS_ENCRYPT], description="the directory of the CA that was asked")
    ]
    fingerprint: Annotated[str | None, Field(examples=["9f86d081…"], description="SHA-256 of the leaf, hex")]
    not_before: Annotated[str | None, Field(examples=[MOMENT])]
    not_after: Annotated[str | None, Field(examples=["2026-04-02T03:04:05Z"], description="the end of the whole chain")]
    renew_at: Annotated[str | None, Field(examples=["2026-03-03T03:04:05Z"])]
    next_attempt_at: Annotated[str | None, Field(examples=[None], description="not before then is it ordered (again)")]
    failures: Annotated[int, Field(examples=[0], description="in a row")]
    last_error: CertificateErrorShape | None


@router.get("/certificates")
@needs("zone.read")
def list_certificates(
    ctx: Ctx,
    who: Who,
    page: AskedPage,
    zone_id: Annotated[str | None, Query(description="Only of the zone with this id.")] = None,
) -> OkPage[CertificateShape]:
    """Certificates by name, and those that are being ordered, of the zones that the token sees; who sees everything, sees those
    of files first. The development CA's are not among them."""
    with ctx.store.reading() as session:
        wanted = storable(zone_id) if zone_id is not None else None
        found = stored.entries(session, reach=who.reach("zone.read"), zone_id=wanted)
    if zone_id is None:
        found = [*_of_files(ctx, who), *found]
    some = found[page.offset : page.offset + page.per_page]
    return ok_page([_shown(ctx, entry) for entry in some], page, len(found))


@router.get("/certificates/{certificate_id}")
@needs("zone.read")
def get_certificate(certificate_id: CertificatePath, ctx: Ctx, who: Who) -> Ok[CertificateShape]:
    """One, by its id or that of its order."""
    for entry in _of_files(ctx, who):
        if entry.id == certificate_id:
            return ok(_shown(ctx, entry))
    with ctx.store.reading() as session:
        return ok(_shown(ctx, stored.get(session, certificate_id, reach=who.reach("zone.read"))))


@router.post("/zones/{zone_id}/certificates")
@needs("zone.edit")
def upload_certificate(zone_id: ZonePath, body: CertificateUpload, ctx: Ctx, who: Who) -> Ok[CertificateShape]:
    """Uploads a certificate for names in this zone: it is served at once, before any that a CA issued."""
    with ctx.store.writing(who.actor) as write:
        zone = zones.get(write.session, zone_id, reach=who.reach("zone.edit"))
        made = stored.upload(write, ctx.sealer, zone, chain=body.certificate, key=body.private_key)
        entry = Entry(made.id, made, None, zone.name)
    return ok(_shown(ctx, entry))


@router.post("/certificates/{certificate_id}/renew")
@needs("zone.edit")
def renew_certificate(certificate_id: CertificatePath, ctx: Ctx, who: Who) -> Ok[CertificateShape]:
    """Orders another now, or as soon as the CA allows it. The one before is served until then."""
    _refuse_file(ctx, who, certificate_id)
    with ctx.store.writing(who.actor) as write:
        entry = stored.renew(write, certificate_id, reach=who.reach("zone.edit"))
    return ok(_shown(ctx, entry))


@router.delete("/certificates/{certificate_id}")
@needs("zone.edit")
def delete_certificate(certificate_id: CertificatePath, ctx: Ctx, who: Who) -> Ok[CertificateShape]:
    """Deletes it with its key: it is served no more. One of a CA is ordered anew while its hostname has a record."""
    _refuse_file(ctx, who, certificate_id)
    with ctx.store.writing(who.actor) as write:
        entry = stored.delete(write, certificate_id, reach=who.reach("zone.edit"))
    return ok(_shown(ctx, entry))


def _of_files(ctx: Context, who: Principal) -> list[Entry]:
    """Whose names may be in any zone, so only for who sees everything."""
    return stored.of_files(ctx.certificate_files()) if who.reach("zone.read").is_everything else []


def _refuse_file(ctx: Context, who: Principal, certificate_id: str) -> None:
    if any(entry.id == certificate_id for entry in _of_files(ctx, who)):
        raise QanatError(
            "certificate_given",
            "the certificate is in a file of the edge's host",
            where="certificate_id",
            hint="put another into the file, or change tls.certificates there",
        )


def _shown(ctx: Context, entry: Entry) -> CertificateShape:
    certificate, order = entry.certificate, entry.order
    holder = certificate or order
    error: CertificateErrorShape | None = None
    if order is not None and order.error_code is not None:
        error = {"code": order.error_code, "reason": order.error_reason or "", "at": rfc3339(order.error_at) or ""}
    return {
        "id": entry.id,
        "names": entry.names,
        "source": cast(Source, certificate.source) if certificate is not None else "acme",
        "status": entry.status(ctx.store.clock()),
        "zone_id": holder.zone_id if holder is not None else None,
        "zone_name": entry.zone_name,
        "issuer": certificate.issuer if certificate is not None else None,
        "authority": (certificate.authority if certificate is not None else None)
        or (order.authority if order else None),
        "fingerprint": certificate.fingerprint if certificate is not None else None,
        "not_before": rfc3339(certificate.not_before) if certificate is not None else None,
        "not_after": rfc3339(certificate.not_after) if certificate is not None else None,
        "renew_at": rfc3339(certificate.renew_at) if certificate is not None else None,
        "next_attempt_at": rfc3339(order.next_at) if order is not None else None,
        "failures": order.failures if order is not None else 0,
        "last_error": error,
    }
