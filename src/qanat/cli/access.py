"""Which control plane, with which token. A token is never a flag's value: command lines can be read by others."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from qanat.cli.output import Output
from qanat.client import Client
from qanat.client.http import is_loopback
from qanat.client.profiles import Profiles, read_token
from qanat.errors import QanatError


def _profile_names(incomplete: str) -> list[str]:
    try:
        return [name for name in Profiles().all() if name.startswith(incomplete)]
    except QanatError:
        return []


ApiOption = Annotated[
    str | None,
    typer.Option("--api", help="Address of the API, ending in /client/v4. By default this machine's edge. (QANAT_API)"),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the API token. (QANAT_API_TOKEN_FILE; or the token itself in QANAT_API_TOKEN)",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Profile with address and token; see `qanat profile`. (QANAT_PROFILE)",
        autocompletion=_profile_names,
    ),
]
AccountOption = Annotated[
    str | None,
    typer.Option("--account", help="Id or name of the account; not needed when the token sees one. (QANAT_ACCOUNT)"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a command was told about where it goes, and how it answers. Flags win over the environment, this over the
    current profile, and that over this machine's edge; a profile's token goes to the profile's address alone."""

    api: str | None = None
    token_file: Path | None = None
    profile: str | None = None
    account: str | None = None
    output: Output = Output.TEXT

    @property
    def as_json(self) -> bool:
        """Whether results are for scripts."""
        return self.output is Output.JSON

    def connect(self, *, timeout_s: float = 30.0) -> Client:
        """A client. QanatError `api_token_missing`, `api_token_unreadable`, `profile_unknown`, `api_not_encrypted`."""
        found = resolve(self)
        check_encrypted(found.api, allowed=found.insecure_http)
        return Client(found.api, found.token, timeout_s=timeout_s)

    def account_id(self, client: Client) -> str:
        """Of the account that was named, or the only one."""
        return client.account_id(self.account_name())

    def account_name(self) -> str | None:
        """By flag, else by the environment, else by the profile whose address is asked; a profile that was named goes before
        the environment."""
        if self.account:
            return self.account
        profiles = Profiles()
        _, name = _place(self, profiles)
        of_profile = profiles.get(name).account if name is not None else None
        from_environment = os.environ.get("QANAT_ACCOUNT") or None
        return of_profile or from_environment if self.profile else from_environment or of_profile


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client goes."""

    api: str
    token: str
    insecure_http: bool


def resolve(access: Access) -> Target:
    """Address and token by the order of `Access`."""
    profiles = Profiles()
    api, name = _place(access, profiles)
    insecure_http = name is not None and profiles.get(name).insecure_http
    return Target(api, _token(access, name, api, profiles), insecure_http)


def _place(access: Access, profiles: Profiles) -> tuple[str, str | None]:
    """The address that is asked, and the profile that has it."""
    name = profile_name(access)
    profile = profiles.get(name) if name is not None else None
    environment_api = os.environ.get("QANAT_API") or None
    if access.api is not None:
        api = access.api
    elif environment_api is not None and access.profile is None:
        api = environment_api
    elif profile is not None:
        api = profile.api
    else:
        api = default_api()
    return api, name if profile is not None and is_same(api, profile.api) else None


def profile_name(access: Access) -> str | None:
    """By flag, else by the environment, else the current one; None when there is none."""
    return access.profile or os.environ.get("QANAT_PROFILE") or Profiles().current()


def default_api() -> str:
    """Of an edge on this machine that runs with default settings."""
    from qanat.settings import ControlSettings  # the settings take long, and are not for every start

    address = ControlSettings.model_fields["address"].default
    return f"http://{address}/client/v4"


def _token(access: Access, profile: str | None, api: str, profiles: Profiles) -> str:
    if access.token_file is not None:
        return read_token(access.token_file)
    if access.profile is not None and profile == access.profile:
        return profiles.token(profile)
    if from_file := os.environ.get("QANAT_API_TOKEN_FILE"):
        return read_token(Path(from_file))
    if from_environment := os.environ.get("QANAT_API_TOKEN", "").strip():
        return from_environment
    if profile is not None:
        return profiles.token(profile)
    if is_loopback(api):
        from qanat.settings import default_data_dir

        first = default_data_dir() / "first-token"
        if first.exists():
            return read_token(first, own=True)
    raise QanatError(
        "api_token_missing",
        f"no API token was given for {api}",
        hint="`qanat login` keeps one; or set QANAT_API_TOKEN, or give --token-file. `qanat edge` writes the first token "
        "to DATA_DIR/first-token",
    )


def check_encrypted(api: str, *, allowed: bool) -> None:
    """A token goes in clear text to this machine only. QanatError `api_not_encrypted`."""
    if allowed or _environment_says_insecure() or not api.lower().startswith("http://") or is_loopback(api):
        return
    raise QanatError(
        "api_not_encrypted",
        f"{api} is plain HTTP to another machine: everybody on the way could read the token",
        where="--api",
        hint="give an https:// address, or a tunnel's end on this machine; QANAT_INSECURE_HTTP=1 if the network is yours",
    )


def is_same(one: str, other: str) -> bool:
    """Whether two addresses are one."""
    return one.rstrip("/") == other.rstrip("/")


def _environment_says_insecure() -> bool:
    return os.environ.get("QANAT_INSECURE_HTTP", "").lower() in ("1", "true", "yes")


def access_of(params: dict[str, Any]) -> Access:
    """From a command's parameters, for completion."""
    token_file = params.get("token_file")
    return Access(
        api=params.get("api"),
        token_file=Path(token_file) if token_file else None,
        profile=params.get("profile"),
        account=params.get("account"),
    )
