"""API tokens of a document: their names and what they may touch; each new one gets a value that nobody knows."""

from secrets import token_bytes
from typing import Any

from qanat.control.transfer.document import TokenPart
from qanat.control.transfer.run import Run, put
from qanat.errors import QanatError
from qanat.ids import parse_record_id
from qanat.store.models import ApiToken
from qanat.store.notices import NoticeKind

ACCOUNT = "com.cloudflare.api.account"


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
        "policies": run.check_token(
            run.write.session, part, _moved(part.policies, run.document.account.id, run.account_id)
        ),
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
                user_id=run.user_id,
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
