"""The options of every command over the API: which control plane, with which token, and how it answers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qanat.cli.control_plane import ControlPlane
from qanat.cli.output import Output
from qanat.client.profiles import Profiles
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


class Access(ControlPlane, frozen=True, kw_only=True):
    """Which control plane, and how results are printed."""

    output: Output = Output.TEXT

    @property
    def as_json(self) -> bool:
        """Whether results are for scripts."""
        return self.output is Output.JSON


def access_of(params: dict[str, Any]) -> Access:
    """From a command's parameters, for completion."""
    token_file = params.get("token_file")
    return Access(
        api=params.get("api"),
        token_file=Path(token_file) if token_file else None,
        profile=params.get("profile"),
        account=params.get("account"),
    )
