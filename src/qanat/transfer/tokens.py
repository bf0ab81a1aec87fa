"""API tokens of a document: their names and what they may touch; each new one gets a value that nobody knows."""

from secrets import token_bytes
from typing import Any

import msgspec

from qanat import structs
from qanat.control.grants import check_bounds, check_held, check_name, check_policies, parse_networks
from qanat.control.permissions import ACCOUNT
from qanat.control.policies import Resource
from qanat.control.zones import account_of
from qanat.errors import QanatError
from qanat.ids import parse_record_id
from qanat.store.models import ApiToken, Zone
from qanat.store.notices import NoticeKind
from qanat.transfer.document import TokenPart
from qanat.transfer.run import Run, put


class _GroupPart(msgspec.Struct, kw_only=True):
    id: str
    meta: dict[str, Any] | None = None


class _PolicyPart(msgspec.Struct, kw_only=True):
    effect: str
    resources: dict[str, str | dict[str, str]]
    permission_groups: list[_GroupPart]


def write(run: Run) -> None:
    """All of them. A policy that reaches further than the caller is a conflict."""
    rows = run.rows(ApiToken, (part.id for part in run.document.tokens))
    seen: set[str] = set()
    for part in run.document.tokens:
        try:
            if part.id in seen or parse_record_id(part.id) != part.id:
                raise QanatError("import_conflict", "the id is twice in the file, or not in lower case")
            seen.add(part.id)
            _token(run, part, rows.get(part.id))
        except QanatError as error:
            run.conflict("token", part.id, part.name, str(error))


def _token(run: Run, part: TokenPart, row: ApiToken | None) -> None:
    if row is not None and (row.account_id != run.account_id or row.kind != "api"):
        raise QanatError("import_conflict", "the id is taken")
    values: dict[str, Any] = {
        "name": part.name,
        "policies": _granted(run, part),
        "allowed_ips": part.allowed_ips,
        "denied_ips": part.denied_ips,
        "disabled": part.disabled,
        "not_before": part.not_before,
        "expires_on": part.expires_on,
        "created_at": part.created_at,
        "modified_at": part.modified_at,
    }
    if row is None:
        run.write.session.add(
            ApiToken(
                id=part.id,
                user_id=run.giver.user_id,
                account_id=run.account_id,
                kind="api",
                sha256=token_bytes(32),  # of no text at all, until the token is rolled
                last_used_at=None,
                last_used_from=None,
                **values,
            )
        )
        run.write.grow("api_tokens", run.account_id)
        run.outcome.new_values.append(part.name)
        run.step("token", part.id, part.name, "create")
    elif put(row, values):
        run.step("token", part.id, part.name, "change")
        run.notice(NoticeKind.API_TOKEN)
    else:
        run.step("token", part.id, part.name, "same")


def _granted(run: Run, part: TokenPart) -> list[dict[str, Any]]:
    """The policies as they are stored, by the rules for a new token of the account: nothing beyond it, and nothing that the
    giver doesn't hold."""
    session = run.write.session

    def is_known(resource: Resource) -> bool:
        if resource.kind == "account":
            return resource.id == run.account_id
        zone = session.get(Zone, resource.id) if resource.kind == "zone" else None
        return resource.kind == "zone" and (zone is None or zone.account_id == run.account_id)

    check_name(part.name)
    policies = check_policies(
        _shaped(_moved(part.policies, run.document.account.id, run.account_id)), is_known=is_known
    )
    check_held(run.giver.policies, policies, account_of(session))
    allowed = parse_networks(part.allowed_ips, where="allowed_ips")
    denied = parse_networks(part.denied_ips, where="denied_ips")
    check_bounds(run.giver, expires_on=part.expires_on, allowed=allowed, denied=denied)
    return policies


def _shaped(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        return [msgspec.to_builtins(structs.convert(policy, _PolicyPart)) for policy in policies]
    except msgspec.ValidationError as error:
        raise QanatError("token_bad_policy", f"a policy has a wrong form: {error}") from error


def _moved(policies: list[dict[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    """The policies on the account that the document comes to."""
    if old == new:
        return policies
    return [
        {
            **policy,
            "resources": {
                f"{ACCOUNT}.{new}" if key == f"{ACCOUNT}.{old}" else key: value
                for key, value in dict(policy.get("resources") or {}).items()
            },
        }
        for policy in policies
    ]
