"""One stock command: its settings, its log, and the API that it asks, by cert.pem as stock or by a token of ours."""

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from qanat.cli.control_plane import ControlPlane, Target, check_encrypted, resolve
from qanat.cli.stock import certificate
from qanat.cli.stock.certificate import Certificate
from qanat.cli.stock.command_line import Invocation, parse_uuid
from qanat.cli.stock.output import Row
from qanat.client import ApiRefusedError, Client
from qanat.client.profiles import Profiles
from qanat.connector.flags import CommandLine
from qanat.connector.log import LEVELS, Log
from qanat.connector.sources import SEARCH_PATHS, Sources, expanded, gather
from qanat.errors import QanatError

HOSTED_API = "https://api.cloudflare.com/client/v4"
GOVERNMENT_API = "https://api.fed.cloudflare.com/client/v4"
PATIENCE_S = 15.0
"""For one answer, as stock."""

OURS = ("api", "token-file", "profile", "account")
"""Flags that name a control plane in our own way."""


class Session:
    """What a command works with. Everything is read when it is asked for."""

    def __init__(self, invocation: Invocation) -> None:
        self.asked = invocation

    def close(self) -> None:
        """Closes what was opened."""
        if "client" in self.__dict__:
            self.client.close()

    @cached_property
    def settings(self) -> Sources:
        """Flags in front of the command, variables, and the configuration file."""
        return gather(CommandLine((), dict(self.asked.general), False), os.environ)

    @cached_property
    def log(self) -> Log:
        """Standard error, as a connector's."""
        level = self.settings.get("loglevel", "info")
        known = level if level in LEVELS else "info"
        return Log(level=known, json=self.settings.get("output", "default") == "json")

    @property
    def names_control_plane(self) -> bool:
        """Whether flags, variables, a profile or this machine's edge say where an API token is."""
        try:
            resolve(self.plane)
        except QanatError as error:
            if error.code == "api_token_missing":
                return False
            raise
        return True

    @cached_property
    def certificate(self) -> Certificate | None:
        """cert.pem, unless a control plane of ours is named. QanatError `origin_certificate_invalid`, `_missing`."""
        if any(self._ours(name) for name in ("token-file", "profile")):
            return None
        named = self.settings.file("origincert")
        if named is not None:
            return certificate.read(self._existing(named))
        if any(os.environ.get(name) for name in ("QANAT_API_TOKEN", "QANAT_API_TOKEN_FILE", "QANAT_PROFILE")):
            return None
        if Profiles().current() is not None:
            return None
        found = certificate.default_path(self.settings.home)
        return certificate.read(found) if found is not None else None

    @cached_property
    def target(self) -> Target:
        """The API's address and the token."""
        found = self.certificate
        if found is None:
            try:
                return resolve(self.plane)
            except QanatError as error:
                if error.code != "api_token_missing" or self._ours("api"):
                    raise
                self._no_certificate()
        if self._ours("api"):
            return Target(self._ours("api"), found.api_token, False)
        if found.endpoint == "fed":
            self.log.info("using fedramp base api", **{"api-url": GOVERNMENT_API})
            return Target(GOVERNMENT_API, found.api_token, False)
        api = self.settings.get("api-url", "") or found.api_url or HOSTED_API
        return Target(api, found.api_token, False)

    @cached_property
    def client(self) -> Client:
        """The API's client. QanatError as `certificate` and `target`."""
        check_encrypted(self.target.api, allowed=self.target.insecure_http)
        return Client(self.target.api, self.target.token, timeout_s=PATIENCE_S)

    @cached_property
    def account_id(self) -> str:
        if self.certificate is not None and not self._ours("account"):
            return self.certificate.account_id
        return self.plane.account_id(self.client)

    def zone_id(self, hostname: str) -> str:
        """The certificate's zone, or the one that holds the hostname."""
        return self.certificate.zone_id if self.certificate is not None else self.client.find_zone(hostname).id

    @cached_property
    def plane(self) -> ControlPlane:
        """A control plane by our flags, variables and profiles."""
        token_file = self._ours("token-file")
        return ControlPlane(
            api=self._ours("api") or self.settings.get("api-url", "") or None,
            token_file=Path(token_file) if token_file else None,
            profile=self._ours("profile") or None,
            account=self._ours("account") or None,
        )

    def _ours(self, name: str) -> str:
        known = any(flag.name == name and flag.ours for flag in self.asked.command.flags)
        return self.asked.text(name) if known else ""

    def _existing(self, path: str) -> str:
        if os.path.isfile(path):  # noqa: PTH113 - pathlib costs more
            return path
        message = (
            f"Cannot find a valid certificate for your origin at the path:\n\n    {path}\n\nIf the path above is wrong, specify "
            "the path with the -origincert option.\nIf you don't have a certificate, run the command:\n\n\tqanat tunnel login\n"
        )
        self._say(message)
        raise QanatError(
            "origin_certificate_missing",
            f"Error locating origin cert: cannot find a valid certificate at the path {path}",
        )

    def _no_certificate(self) -> NoReturn:
        folders = " ".join(SEARCH_PATHS)
        self.log.error(
            f"Cannot determine default origin certificate path. No file {certificate.NAME} in [{folders}]. You need to specify "
            "the origin certificate path by specifying the origincert option in the configuration file, or set "
            "TUNNEL_ORIGIN_CERT environment variable",
            originCertPath="",
        )
        raise QanatError(
            "origin_certificate_missing",
            "Error locating origin cert: client didn't specify origincert path",
            hint="`qanat tunnel login` gets one; `qanat login`, QANAT_API_TOKEN or --token-file name an API token instead",
        )

    def _say(self, message: str) -> None:
        for line in message.split("\n"):
            print(line, file=sys.stderr)

    # ------------------------------------------------------------ tunnels
    @property
    def tunnels_path(self) -> str:
        return f"/accounts/{self.account_id}/cfd_tunnel"

    def listed(self, path: str, query: dict[str, str | int]) -> list[Row]:
        """A whole list. QanatError in stock's words."""
        size = self.settings.get("max-fetch-size", 0)
        try:
            return list(self.client.listed(path, {**query, **({"per_page": size} if size > 0 else {})}))
        except QanatError as error:
            raise said("Error Parsing page 1", error, short=True) from error

    def one(
        self, method: str, path: str, doing: str, *, query: dict[str, str] | None = None, body: object = None
    ) -> Any:
        """One answer's result; `doing` as stock says it: `get tunnel`. QanatError in stock's words."""
        try:
            return self.client.result(method, path, query=query, body=body)
        except ApiRefusedError as error:
            raise said(f"Failed to {doing}", error) from error
        except QanatError as error:
            raise said("REST request failed", error) from error

    def tunnels_named(self, name: str) -> list[Row]:
        """Those that are not deleted."""
        return self.listed(self.tunnels_path, {"is_deleted": "false", "name": name})

    def tunnel_id(self, word: str, *, credentials_file: str = "") -> str:
        """Of an id, of a credentials file, or of a name. QanatError `tunnel_unknown` in stock's words."""
        found = parse_uuid(word)
        if found is not None:
            return found
        if credentials_file:
            from qanat.cli.stock.credentials import tunnel_of

            if (of_file := tunnel_of(credentials_file)) is not None:
                return of_file
        tunnels = self.tunnels_named(word) if word else []
        if tunnels:
            return str(tunnels[0]["id"])
        raise QanatError("tunnel_unknown", f"{word} is neither the ID nor the name of any of your tunnels")

    def tunnel_ids(self, words: tuple[str, ...]) -> list[str]:
        """Ids first, then names, as stock; each name is one tunnel's."""
        ids = [found for word in words if (found := parse_uuid(word)) is not None]
        for name in words:
            if parse_uuid(name) is not None:
                continue
            tunnels = self.tunnels_named(name) if name else []
            if len(tunnels) != 1:
                raise QanatError("tunnel_unknown", f"there should only be 1 non-deleted Tunnel named {name}")
            ids.append(str(tunnels[0]["id"]))
        return ids

    def in_home(self, path: str) -> str:
        """A path with the user's home for `~`."""
        return expanded(path, self.settings.home)


def said(doing: str, error: QanatError, *, short: bool = False) -> QanatError:
    """A refusal as stock tells it, the reason behind it. `short`: stock tells only its kind there."""
    if not isinstance(error, ApiRefusedError):
        text = f"REST request failed: {error.message}" if short else error.message
        return QanatError(error.code, f"{doing}: {text}", where=error.where, hint=error.hint)
    reason = f"code: {error.api_code}, reason: {error.message}" if error.api_code else error.message
    if short:
        kind = {400: "incorrect request parameters", 401: "unauthorized", 403: "unauthorized", 404: "not found"}.get(
            error.status, f"API call failed with status {error.status}"
        )
        reason = f"REST request failed: {kind} ({reason})"
    return QanatError("api_refused", f"{doing}: {reason}", hint=error.hint)


def wrapped(doing: str, error: QanatError) -> QanatError:
    """With what it was part of in front, as stock wraps errors."""
    return QanatError(error.code, f"{doing}: {error.message}", where=error.where, hint=error.hint)
