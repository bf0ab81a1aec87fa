"""A user's role in an account, in the shapes of stock clients: of a member, and of one's own membership."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field

from qanat.api.http.shapes import Shape
from qanat.control.roles import EVERY_ACCOUNT, GRANTS, ROLES, TOLD, Role
from qanat.control.users import Person
from qanat.store.reach import Permission

HIGHEST = "Super Administrator - All Privileges"
ROLE_ID = "33666b9c79b9a5273fc7344ff42f953d"  # as stock's
NAMES: Mapping[Role, str] = {"owner": HIGHEST, "admin": "Administrator", "operator": "Operator", "viewer": "Viewer"}
GRANTED: Mapping[str, tuple[Permission, Permission]] = {
    "dns_records": ("dns.read", "dns.edit"),
    "organization": ("account.read", "account.edit"),
    "zones": ("zone.read", "zone.edit"),
    "zone_settings": ("zone.read", "zone.edit"),
}


class RoleShape(Shape):
    """A role."""

    id: Annotated[str, Field(examples=[ROLE_ID])]
    name: Annotated[str, Field(examples=[HIGHEST])]
    description: Annotated[str, Field(examples=[f"owner: {TOLD['owner']}"])]
    permissions: Annotated[dict[str, Any], Field(examples=[{"zones": {"read": True, "write": True}}])]


def role_id(role: Role) -> str:
    """The owner's as stock's highest; the others have none of stock's."""
    return ROLE_ID if role == "owner" else sha256(f"qanat role {role}".encode()).hexdigest()[:32]


def role_in(person: Person, account_id: str) -> Role | None:
    """The higher one of what they have there and everywhere; None: neither."""
    held = {person.roles.get(account_id), person.roles.get(EVERY_ACCOUNT)}
    return next((role for role in ROLES if role in held), None)


def shown_role(role: Role) -> RoleShape:
    """As stock clients read it."""
    return {
        "id": role_id(role),
        "name": NAMES[role],
        "description": f"{role}: {TOLD[role]}",
        "permissions": granted(role),
    }


def granted(role: Role) -> dict[str, Any]:
    """What a role gives, of what stock clients ask for."""

    def holds(permission: Permission) -> bool:
        return any(group.allows(permission) for group in GRANTS[role])

    return {name: {"read": holds(read), "write": holds(edit)} for name, (read, edit) in GRANTED.items()}
