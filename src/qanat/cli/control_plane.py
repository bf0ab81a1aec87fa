"""Which control plane a command asks, with which token. A token is never a flag's value: command lines can be read by others."""

import os
from pathlib import Path

from msgspec import Struct

from qanat.client import Client
from qanat.client.http import is_loopback
from qanat.client.profiles import Profiles, read_token
from qanat.defaults import API_ADDRESS, default_data_dir
from qanat.errors import QanatError


class ControlPlane(Struct, frozen=True, kw_only=True):
    """What a command was told about where it goes. Flags win over the environment, this over the current profile, and that
    over this machine's edge; a profile's token goes to the profile's address alone."""

    api: str | None = None
    token_file: Path | None = None
    profile: str | None = None
    account: str | None = None

    def connect(self, *, timeout_s: float = 30.0) -> Client:
        """A client. QanatError `api_token_missing`, `api_token_unreadable`, `profile_unknown`, `api_not_encrypted`."""
        found = resolve(self)
        check_encrypted(found.api, allowed=found.insecure_http)
        return Client(found.api, found.token, timeout_s=timeout_s)

    def connect_with(self, token: str, *, timeout_s: float = 30.0) -> Client:
        """A client with a credential of its own (a connector token), where any other would go. QanatError `profile_unknown`,
        `api_not_encrypted`."""
        profiles = Profiles()
        api, name = _place(self, profiles)
        check_encrypted(api, allowed=name is not None and profiles.get(name).insecure_http)
        return Client(api, token, timeout_s=timeout_s)

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


class Target(Struct, frozen=True):
    """Where a client goes."""

    api: str
    token: str
    insecure_http: bool


def resolve(access: ControlPlane) -> Target:
    """Address and token by the order of `ControlPlane`."""
    profiles = Profiles()
    api, name = _place(access, profiles)
    insecure_http = name is not None and profiles.get(name).insecure_http
    return Target(api, _token(access, name, api, profiles), insecure_http)


def _place(access: ControlPlane, profiles: Profiles) -> tuple[str, str | None]:
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


def profile_name(access: ControlPlane) -> str | None:
    """By flag, else by the environment, else the current one; None when there is none."""
    return access.profile or os.environ.get("QANAT_PROFILE") or Profiles().current()


def default_api() -> str:
    """Of an edge on this machine that runs with default settings."""
    return f"http://{API_ADDRESS}/client/v4"


def _token(access: ControlPlane, profile: str | None, api: str, profiles: Profiles) -> str:
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
