"""Settings: how people sign in."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from qanat.settings.values import Name, Part


def check_issuer(url: str | None) -> str | None:
    """An issuer's URL as its own documents write it. ValueError says what is wrong."""
    if url in (None, "", "off"):
        return None
    assert url is not None
    parts = urlsplit(url)
    if (
        parts.scheme not in ("https", "http")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError(f"{url!r} is not an issuer's URL, such as https://id.example.com/realms/staff")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError(f"{url!r} is not https://, which every issuer but one on this machine has to be")
    return url


def check_grant(text: str) -> str:
    """`GROUP=ROLE` or `GROUP=ROLE@ACCOUNT`. ValueError says what is missing."""
    group, equals, rest = text.rpartition("=")
    role = rest.partition("@")[0]
    if not equals or not group or role not in ("owner", "admin", "operator", "viewer"):
        raise ValueError(
            f"{text!r} is not GROUP=ROLE, such as staff=operator or root=owner@*; roles: owner, admin, operator, viewer"
        )
    return text


class OidcSettings(Part):
    """Signing in by an OpenID provider."""

    issuer: Annotated[str | None, AfterValidator(check_issuer)] = Field(
        default=None,
        description="URL of an OpenID provider that people may sign in by, as its discovery document has it; none: by passwords "
        "and passkeys alone. At the provider, register https://HOSTNAME/sign-in/oidc/callback as the redirect URI.",
    )
    client_id: str = Field(default="", max_length=500, description="What the provider knows the edge by.")
    client_secret_file: Path | None = Field(
        default=None,
        description="File with the client's secret, read for each sign-in; none: a public client, which PKCE alone protects.",
    )
    label: str = Field(
        default="single sign-on", min_length=1, max_length=60, description="What the sign-in page calls the provider."
    )
    scopes: tuple[str, ...] = Field(
        default=("openid", "email", "profile"), description="What is asked for; `openid` is always among it."
    )
    groups_claim: str = Field(
        default="groups",
        min_length=1,
        description="Claim of the ID token, or of UserInfo where that has none, which lists groups.",
    )
    roles: tuple[Annotated[str, AfterValidator(check_grant)], ...] = Field(
        default=(),
        description="Roles of those whom the provider brought here: GROUP=ROLE in the first account, GROUP=ROLE@ACCOUNT-ID in "
        "another, GROUP=ROLE@* everywhere. They follow the groups at each sign-in; invited users keep the role they were given.",
    )
    domains: tuple[Name, ...] = Field(
        default=(), description="Domains that a verified email address has to be of; none: of any."
    )
    admits: Literal["invited", "everyone"] = Field(
        default="invited",
        description="Who may come: users that were added here, or everyone whose groups have a role by `roles`.",
    )
    links: Literal["invited", "any", "none"] = Field(
        default="invited",
        description="Whom a verified email address alone makes a user of this edge: invited ones who have no way to sign in yet, "
        "any, or nobody. Who is signed in can always link their account by hand.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "OidcSettings":
        if self.issuer and not self.client_id:
            raise ValueError("an issuer needs the client_id that it knows this edge by")
        if self.admits == "everyone" and not self.roles:
            raise ValueError("admits: everyone needs `roles`, which say what they may do")
        return self
