"""`/qanat/accounts/{account_id}/export` and `…/import`: a whole account as one document."""

from typing import Annotated, Any, NotRequired, cast

from fastapi import Depends, Request
from pydantic import Field

from qanat.api.http.body import MAX_VALUES
from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.endpoint import HEAVY, Takes, takes
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.repointing import Repoint
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape, queries
from qanat.control import accounts
from qanat.control.policies import reach_of
from qanat.control.principal import Principal
from qanat.control.zones import account_of
from qanat.cutover.repointing import HEADER, Move
from qanat.errors import QanatError
from qanat.store.models import Account
from qanat.store.reach import Permission
from qanat.transfer import zones
from qanat.transfer.document import Document, plain, read_document
from qanat.transfer.reading import read_account
from qanat.transfer.run import Outcome
from qanat.transfer.sealed import PassphraseSealer, new_sealer, open_sealer
from qanat.transfer.writing import check, import_account

router = resource(prefix="/qanat/accounts/{account_id}", tags=["qanat"])

PASSPHRASE_HEADER = "qanat-passphrase"
READS: tuple[Permission, ...] = ("account.read", "tunnel.read", "zone.read", "dns.read", "token.read")
EDITS: tuple[Permission, ...] = ("account.edit", "tunnel.edit", "zone.edit", "dns.edit", "token.edit")
SHOWN_CONFLICTS = 3
MAX_ACCOUNT_BYTES = 64 * 1024 * 1024
BYTES_A_VALUE = 6  # of an account's document, which has 12 in its records and more elsewhere
HEX_ID = "023e105f4ecef8ad9ca31a8372d0c353"
UUID = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"

PASSPHRASE = {
    "name": PASSPHRASE_HEADER,
    "in": "header",
    "required": False,
    "description": "The passphrase that secrets are sealed under, in UTF-8: 12 to 1024 characters.",
    "schema": {"type": "string"},
}


class AccountDocumentShape(Shape):
    """An account: `format` and `version` say how to read it. Without `secrets` it holds none."""

    format: Annotated[str, Field(examples=["qanat-account"])]
    version: Annotated[int, Field(examples=[1])]
    exported_at: Annotated[str, Field(examples=["2026-01-02T03:04:05.678901Z"])]
    account: Annotated[dict[str, Any], Field(examples=[{"id": HEX_ID, "name": "default"}])]
    tunnels: NotRequired[
        Annotated[list[dict[str, Any]], Field(examples=[[{"id": UUID, "name": "web", "config_src": "cloudflare"}]])]
    ]
    virtual_networks: NotRequired[Annotated[list[dict[str, Any]], Field(examples=[[]])]]
    routes: NotRequired[Annotated[list[dict[str, Any]], Field(examples=[[]])]]
    zones: NotRequired[
        Annotated[list[dict[str, Any]], Field(examples=[[{"id": HEX_ID, "name": "example.com", "records": []}]])]
    ]
    probes: NotRequired[Annotated[list[dict[str, Any]], Field(examples=[[]])]]
    tokens: NotRequired[Annotated[list[dict[str, Any]], Field(examples=[[]])]]
    members: NotRequired[
        Annotated[list[dict[str, Any]], Field(examples=[[{"email": "ops@example.com", "role": "operator"}]])]
    ]
    alert_channels: NotRequired[
        Annotated[list[dict[str, Any]], Field(examples=[[{"id": HEX_ID, "name": "on call", "kind": "webhook"}]])]
    ]
    alert_rules: NotRequired[
        Annotated[
            list[dict[str, Any]], Field(examples=[[{"id": HEX_ID, "name": "Tunnel down", "kind": "tunnel_down"}]])
        ]
    ]


class ImportStepShape(Shape):
    """What is done with one object."""

    kind: Annotated[str, Field(examples=["tunnel"])]
    id: Annotated[str, Field(examples=[UUID])]
    name: Annotated[str, Field(examples=["web"])]
    action: Annotated[str, Field(examples=["create"], description="`create`, `change`, `same` or `conflict`")]
    reason: Annotated[str | None, Field(examples=[None])]


class ImportShape(Shape):
    """What an import did, or would do."""

    account_id: Annotated[str, Field(examples=[HEX_ID])]
    applied: Annotated[bool, Field(examples=[False], description="false for a dry run")]
    counts: Annotated[dict[str, int], Field(examples=[{"create": 1, "change": 0, "same": 0, "conflict": 0}])]
    steps: list[ImportStepShape]
    new_secrets: Annotated[
        list[str], Field(examples=[["web"]], description="tunnels whose connectors need a new token")
    ]
    new_values: Annotated[
        list[str], Field(examples=[[]], description="API tokens with a value that nobody knows: roll them")
    ]
    new_users: Annotated[
        list[str], Field(examples=[[]], description="users without a way to sign in: give each a one-time token")
    ]
    new_channels: Annotated[
        list[str], Field(examples=[[]], description="alert channels that are off: give their URL or password")
    ]


EXPORT_QUERY = queries({"secrets": ("`sealed`: with secrets, sealed under the passphrase", {"enum": ["sealed"]})})
IMPORT_QUERY = queries({"dry_run": ("`false` writes; else it is only told what would be done", {"type": "boolean"})})
EXPORT_QUERY["parameters"].append(PASSPHRASE)
IMPORT_QUERY["parameters"].append(PASSPHRASE)
IMPORT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "additionalProperties": True},
                "example": {"format": "qanat-account", "version": 1},
            }
        },
    }
}


def most_account_values(size: int) -> int:
    """Values and keys of an account's document of so many bytes: a document of empty lists has one in three."""
    return MAX_VALUES // 10 + size // BYTES_A_VALUE


# Who may not import must not make us hold so large a body.
WHOLE_ACCOUNT = Takes(max_bytes=MAX_ACCOUNT_BYTES, max_values=most_account_values, weight="account", asks_first=True)


async def _text(request: Request) -> bytes:
    return await request.body()


@router.get("/export", openapi_extra=EXPORT_QUERY)
@needs(*READS)
@takes(HEAVY)
def export_account(account_id: str, request: Request, ctx: Ctx, who: Who) -> Ok[AccountDocumentShape]:
    """Tunnels with every configuration, mode and fences, zones, records, weights, probes, private routes, and the names and
    policies of the account's tokens; its users by address, with their roles in it and nothing that they sign in by; alert
    rules and channels."""
    account = _account(ctx, who, account_id, READS)
    sealed = _sealer_for_export(request, who, account.id)
    with ctx.store.reading() as session:
        document = read_account(
            session,
            account,
            at=ctx.store.clock(),
            sealer=ctx.sealer,
            passphrase=sealed,
            of_channels=reach_of(who.token.policies, "account.edit").has_account(account.id),
        )
    with ctx.store.writing(who.actor) as write:
        write.audit(
            "account.export",
            account.id,
            account_id=account.id,
            detail={"secrets": sealed is not None, "tunnels": len(document.tunnels), "zones": len(document.zones)},
        )
    return ok(cast(AccountDocumentShape, plain(document)))


@router.post("/import", openapi_extra={**IMPORT_QUERY, **IMPORT_BODY})
@needs(*EDITS)
@takes(WHOLE_ACCOUNT)
def import_into_account(
    account_id: str,
    request: Request,
    ctx: Ctx,
    who: Who,
    repoint: Repoint,
    text: Annotated[bytes, Depends(_text)],
) -> Ok[ImportShape]:
    """Writes an exported account here, whole or not at all; without `dry_run=false` it only says what it would do. An
    account that doesn't exist is made when its id is the document's own. What isn't in the document stays as it is, and who is
    active of a tunnel's nodes here stays active. A hostname that would go from a tunnel that serves it to one that doesn't is a
    conflict, as for a record that is repointed."""
    document = read_document(text)
    writes = request.query_params.get("dry_run", "true").lower() in ("false", "0")
    _check_reach(ctx, who, account_id, document)
    secrets = _sealer_for_import(request, document)
    checked = check(document)
    guard = repoint.guard_of(
        None, lambda session: [Move(*each) for each in zones.moves(session, document, checked)], where="document"
    )
    with ctx.store.writing(who.actor) as write:
        outcome = import_account(
            write,
            account_id=account_id,
            document=document,
            checked=checked,
            sealer=ctx.sealer,
            secrets=secrets,
            giver=who.token,
            dry_run=not writes,
            repoint=guard,
        )
    if writes and not outcome.applied:
        raise _conflicts(outcome)
    return ok(
        {
            "account_id": outcome.account_id,
            "applied": outcome.applied,
            "counts": outcome.counts(),
            "steps": [
                {"kind": each.kind, "id": each.id, "name": each.name, "action": each.action, "reason": each.reason}
                for each in outcome.steps
            ],
            "new_secrets": outcome.new_secrets,
            "new_values": outcome.new_values,
            "new_users": outcome.new_users,
            "new_channels": outcome.new_channels,
        }
    )


def _account(ctx: Context, who: Principal, account_id: str, permissions: tuple[Permission, ...]) -> Account:
    """All of the permissions on the whole account, or it isn't there for the caller. QanatError `permission_missing` besides: on
    one of its zones the caller is denied one."""
    with ctx.store.reading() as session:
        for permission in permissions:
            reach = who.reach(permission)
            account = accounts.get(session, account_id, reach=reach)
            if any(account_of(session)(zone_id) == account_id for zone_id in reach.denied_zones):
                raise QanatError(
                    "permission_missing",
                    f"the token may not {permission.replace('.', ' ')} on every zone of the account",
                    where="Authorization",
                    hint="use a token that holds all of the account",
                )
    return account


def _check_reach(ctx: Context, who: Principal, account_id: str, document: Document) -> None:
    with ctx.store.reading() as session:
        exists = session.get(Account, account_id) is not None
    if exists or not who.reach("account.edit").is_everything:
        _account(ctx, who, account_id, EDITS)
        return
    if document.account.id != account_id:
        raise QanatError("account_unknown", "no such account", where="account_id")
    for permission in EDITS:
        who.everything(permission)


def _sealer_for_export(request: Request, who: Principal, account_id: str) -> PassphraseSealer | None:
    """Secrets are for those who may read connector tokens, which takes `tunnel.edit`."""
    if request.query_params.get("secrets") != "sealed":
        return None
    passphrase = _passphrase(request)
    if not reach_of(who.token.policies, "tunnel.edit").has_account(account_id):
        raise QanatError(
            "permission_missing",
            "the token may not read the secrets of the account's tunnels",
            hint="use a token with the permission tunnel.edit, or export without secrets",
        )
    if passphrase is None:
        raise QanatError("passphrase_missing", f"secrets need a passphrase, in the header {PASSPHRASE_HEADER}")
    return new_sealer(passphrase)


def _sealer_for_import(request: Request, document: Document) -> PassphraseSealer | None:
    if document.secrets is None:
        return None
    passphrase = _passphrase(request)
    if passphrase is None:
        raise QanatError(
            "passphrase_missing",
            f"the file holds sealed secrets: give its passphrase in the header {PASSPHRASE_HEADER}",
        )
    return open_sealer(passphrase, document.secrets)


def _passphrase(request: Request) -> str | None:
    text = request.headers.get(PASSPHRASE_HEADER)
    try:
        return text.encode("latin-1").decode() if text else None
    except UnicodeDecodeError:
        raise QanatError("passphrase_wrong", "the passphrase is not in UTF-8", where=PASSPHRASE_HEADER) from None


def _conflicts(outcome: Outcome) -> QanatError:
    found = [step for step in outcome.steps if step.action == "conflict"]
    shown = "; ".join(f"{step.kind} {step.name}: {step.reason}" for step in found[:SHOWN_CONFLICTS])
    told = f"nothing was written, because of {len(found)} conflicts: {shown}{'; …' if len(found) > SHOWN_CONFLICTS else ''}"
    if all(step.code == "record_target_down" for step in found):
        hint = f"a dry run lists them all; bring the targets up, or override it by the header {HEADER}: off"
        return QanatError("record_target_down", told, where="document", hint=hint)
    return QanatError("import_conflict", told, hint="a dry run lists them all")
