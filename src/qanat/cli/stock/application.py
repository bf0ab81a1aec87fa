"""An application behind an edge, as `access …` names it: its URL, the headers that are sent, and whether a login is asked for."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from qanat.cli.stock.command_line import Invocation, UsageError
from qanat.connector.log import Log
from qanat.errors import QanatError
from qanat.ids import parse_hostname

LOGIN_PATH = "/cdn-cgi/access/login"
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def application_url(text: str, *, where: str) -> str:
    """`https://host[:port]/path`, of a hostname or a URL; http becomes https. UsageError, in stock's words."""
    if not text:
        raise UsageError("no input provided", where=where, hint=f"write {where} app.example.com")
    rest = text.removeprefix("https://").removeprefix("http://")
    if rest.count(":") > 1 and not rest.startswith("["):
        host, slash, tail = rest.partition("/")
        rest = f"[{host}]{slash}{tail}"
    try:
        parts = urlsplit(f"https://{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"failed to parse as URL: {error}", where=where) from None
    if not host or "@" in parts.netloc or not parts.netloc.isprintable() or " " in parts.netloc:
        raise UsageError("failed to parse Host", where=where, hint=f"write {where} app.example.com")
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        try:
            host = parse_hostname(host)
        except QanatError:
            raise UsageError("invalid Host provided", where=where) from None
    return urlunsplit(("https", f"{host}:{port}" if port else host, parts.path, parts.query, ""))


def parsed_headers(given: Sequence[str]) -> list[tuple[str, str]]:
    """`Name: value`. QanatError `flag_value_invalid`: a header that can't be sent is not left out in silence."""
    headers = []
    for text in given:
        name, colon, value = text.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _FIELD_NAME.fullmatch(name) or not value.isprintable():
            raise QanatError(
                "flag_value_invalid", "this is not a header", where="--header", hint="write --header 'Name: value'"
            )
        headers.append((name, value))
    return headers


def credentials_headers(asked: Invocation) -> list[tuple[str, str]]:
    """Of an Access service token."""
    names = (("service-token-id", "Cf-Access-Client-Id"), ("service-token-secret", "Cf-Access-Client-Secret"))
    return [(header, asked.text(flag)) for flag, header in names if asked.is_set(flag)]


def is_login(response: Any) -> bool:
    """Whether an answer leads to the page of an Access login."""
    location = str(response.headers.get("Location", ""))
    return bool(response.status_code == 302) and urlsplit(location).path.startswith(LOGIN_PATH)


def is_login_answer(url: str, token: str) -> bool:
    """Whether an application sends even this token to the login. QanatError `application_unreachable`."""
    from qanat.cli.stock.access_tokens import call

    separator = "&" if urlsplit(url).query else "?"
    answer = call("GET", f"{url}{separator}cloudflared_token_check=true", [("cf-access-token", token)])
    location = answer.headers.get("location", "")
    return answer.status == 302 and urlsplit(location).path.startswith(LOGIN_PATH)


def login_token(url: str, log: Log, *, fresh: bool) -> str:
    """The application's token: the kept one, unless `fresh`, else by a login in the browser. QanatError."""
    from qanat.cli.stock.access import token_for
    from qanat.cli.stock.access_tokens import application, forget

    found = application(url)
    if fresh:
        forget(found)
    return token_for(url, found, log)
