"""Who asks: tokens and accounts; and whole accounts as documents."""

from collections.abc import Mapping, Sequence
from typing import Any

from qanat.client.http import Calls, policy_header
from qanat.client.shapes import Account, ImportReport, PermissionGroup, Person, Token, TokenStatus
from qanat.errors import QanatError

PASSPHRASE_HEADER = "qanat-passphrase"

# Our permissions, and the stock names of the groups that carry them.
STOCK_NAMES = {
    "account.read": "Account Settings Read",
    "account.edit": "Account Settings Write",
    "zone.read": "Zone Read",
    "zone.edit": "Zone Write",
    "dns.read": "DNS Read",
    "dns.edit": "DNS Write",
    "tunnel.read": "Cloudflare Tunnel Read",
    "tunnel.edit": "Cloudflare Tunnel Write",
    "token.read": "Account API Tokens Read",
    "token.edit": "Account API Tokens Write",
    "audit.read": "Access: Audit Logs Read",
    "edge.read": "Qanat Edge Read",
    "edge.edit": "Qanat Edge Write",
    "*": "All Write",
}


class AccountCalls(Calls):
    """`/user/tokens`, `/accounts`, and the account documents under `/qanat/accounts`."""

    def verify(self) -> TokenStatus:
        """Whether the token is good."""
        return self._one("GET", "/user/tokens/verify", TokenStatus)

    # ------------------------------------------------------------ accounts

    def accounts(self, *, name: str | None = None) -> list[Account]:
        """Those that the token sees."""
        return list(self._pages("/accounts", Account, {"name": name} if name else {}))

    def account_id(self, account: str | None = None) -> str:
        """By id or name; without one the token's only account. QanatError `account_ambiguous`, `account_unknown`."""
        return self.find_account(account).id

    def find_account(self, account: str | None = None) -> Account:
        """As `account_id`, whole."""
        accounts = self.accounts()
        if account is not None:
            accounts = [each for each in accounts if account in (each.id, each.name)]
        if len(accounts) == 1:
            return accounts[0]
        if not accounts:
            raise QanatError("account_unknown", "the token sees no such account", where="--account")
        names = ", ".join(f"{each.name} ({each.id})" for each in accounts[:10])
        raise QanatError("account_ambiguous", f"the token sees several accounts: {names}", where="--account")

    def create_account(self, name: str) -> Account:
        """An account."""
        return self._one("POST", "/accounts", Account, body={"name": name, "type": "standard"})

    def rename_account(self, account_id: str, name: str) -> Account:
        """The account under its new name."""
        return self._one("PUT", f"/accounts/{account_id}", Account, body={"name": name})

    def delete_account(self, account_id: str) -> None:
        """The account; refused while it has tunnels or zones."""
        self._call("DELETE", f"/accounts/{account_id}")

    def limits(self, account_id: str) -> list[dict[str, Any]]:
        """What the account may have, and has."""
        return self._one("GET", f"/qanat/accounts/{account_id}/limits", list[dict[str, Any]])

    def export_account(self, account_id: str, *, passphrase: str | None = None) -> dict[str, Any]:
        """The account as one document; with a passphrase also its tunnels' secrets, sealed under it."""
        return self._one(
            "GET",
            f"/qanat/accounts/{account_id}/export",
            dict[str, Any],
            query={"secrets": "sealed"} if passphrase is not None else {},
            headers={PASSPHRASE_HEADER: passphrase} if passphrase is not None else None,
        )

    def import_account(
        self,
        account_id: str,
        document: Mapping[str, Any],
        *,
        dry_run: bool,
        passphrase: str | None = None,
        cutover_policy: str | None = None,
    ) -> ImportReport:
        """Whole or not at all; with `dry_run` only what it would do. `cutover_policy`: for this import alone."""
        headers = policy_header(cutover_policy) or {}
        if passphrase is not None:
            headers[PASSPHRASE_HEADER] = passphrase
        return self._one(
            "POST",
            f"/qanat/accounts/{account_id}/import",
            ImportReport,
            query={"dry_run": "true" if dry_run else "false"},
            body=dict(document),
            headers=headers,
        )

    # ------------------------------------------------------------ users

    def users(self) -> list[Person]:
        """Those that the token sees."""
        return list(self._pages("/qanat/users", Person))

    def find_user(self, email_or_id: str) -> Person:
        """QanatError `user_unknown`."""
        wanted = email_or_id.casefold()
        found = next((each for each in self.users() if wanted in (each.id, each.email.casefold())), None)
        if found is None:
            raise QanatError("user_unknown", f"there is no user {email_or_id!r}", hint="see `qanat user list`")
        return found

    def create_user(self, *, email: str, role: str, account: str, password: str | None = None) -> Person:
        """Without a password the answer holds a one-time token, which nobody can ask for again."""
        body = {"email": email, "role": role, "account": account, "password": password}
        return self._one("POST", "/qanat/users", Person, body=body)

    def set_role(self, user_id: str, *, account: str, role: str | None) -> Person:
        """In one account, or `*`; None takes it away."""
        return self._one("PUT", f"/qanat/users/{user_id}/role", Person, body={"account": account, "role": role})

    def change_user(self, user_id: str, *, disabled: bool) -> Person:
        """Shut out, or let in again."""
        return self._one("PATCH", f"/qanat/users/{user_id}", Person, body={"disabled": disabled})

    def reset_user(self, user_id: str, *, second_factor: bool, password: str | None = None) -> Person:
        """As `create_user` about the way in."""
        body = {"second_factor": second_factor, "password": password}
        return self._one("POST", f"/qanat/users/{user_id}/reset", Person, body=body)

    def remove_user(self, user_id: str) -> None:
        """The user."""
        self._call("DELETE", f"/qanat/users/{user_id}")

    # ------------------------------------------------------------ tokens

    def permission_groups(self, *, account_id: str | None = None) -> list[PermissionGroup]:
        """What can be allowed."""
        return list(self._pages(f"{_tokens(account_id)}/permission_groups", PermissionGroup))

    def tokens(self, *, account_id: str | None = None) -> list[Token]:
        """The user's, or an account's."""
        return list(self._pages(_tokens(account_id), Token))

    def find_token(self, name_or_id: str, *, account_id: str | None = None) -> Token:
        """QanatError `api_token_unknown`, `api_token_ambiguous`."""
        found = [each for each in self.tokens(account_id=account_id) if name_or_id in (each.id, each.name)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise QanatError("api_token_unknown", f"there is no token {name_or_id!r}", hint="see `qanat token list`")
        raise QanatError("api_token_ambiguous", f"{len(found)} tokens are named {name_or_id!r}", hint="give the id")

    def create_token(self, body: Mapping[str, Any], *, account_id: str | None = None) -> Token:
        """The answer holds its value, which nobody can ask for again."""
        return self._one("POST", _tokens(account_id), Token, body=dict(body))

    def change_token(self, token_id: str, body: Mapping[str, Any], *, account_id: str | None = None) -> Token:
        """The token as the body says, whole."""
        return self._one("PUT", f"{_tokens(account_id)}/{token_id}", Token, body=dict(body))

    def roll_token(self, token_id: str, *, account_id: str | None = None) -> str:
        """A new value; the old one is refused from now on."""
        return self._one("PUT", f"{_tokens(account_id)}/{token_id}/value", str, body={})

    def delete_token(self, token_id: str, *, account_id: str | None = None) -> None:
        """The token."""
        self._call("DELETE", f"{_tokens(account_id)}/{token_id}")


def group_of(groups: Sequence[PermissionGroup], wanted: str) -> PermissionGroup:
    """The group of a permission of ours, or of a stock name or id. QanatError `permission_unknown`."""
    name = STOCK_NAMES.get(wanted.lower(), wanted).lower()
    for group in groups:
        if name in (group.id, group.name.lower()):
            return group
    known = ", ".join(each for each in STOCK_NAMES if each != "*")
    raise QanatError("permission_unknown", f"{wanted!r} is not a valid permission: {known}", where="--allow")


def permission_of(group: PermissionGroup) -> str | None:
    """Our short name of a group; None for one that has none."""
    return next((short for short, name in STOCK_NAMES.items() if name == group.name), None)


def _tokens(account_id: str | None) -> str:
    return "/user/tokens" if account_id is None else f"/accounts/{account_id}/tokens"
