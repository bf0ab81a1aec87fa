"""`access login`, `token`, `curl`: applications behind an Access login; their tokens are kept where stock keeps them."""

import os
import subprocess

from qanat.cli.stock.access_tokens import Application, application, forget, kept_token, log_in, org_exchange, token_lock
from qanat.cli.stock.application import application_url, is_login_answer
from qanat.cli.stock.command_line import UsageError
from qanat.cli.stock.session import Session
from qanat.connector.log import Log
from qanat.errors import QanatError


def login(session: Session) -> None:
    """Prints the application's token, after a login where there is no good one."""
    asked = session.asked
    url = _url(session)
    found = application(url)
    _check(url, found, session.log, auto_close=asked.yes("auto-close"))
    token = kept_token(found)
    if not token:
        raise QanatError("access_token_missing", "Unable to find token for provided application.")
    if asked.yes("quiet"):
        return
    if asked.yes("no-verbose") or asked.is_set("app"):
        print(token, end="")
    else:
        print(f"Successfully fetched your token:\n\n{token}\n")


def token(session: Session) -> None:
    """Prints the kept token, alone."""
    text = kept_token(application(_url(session)))
    if not text:
        raise QanatError(
            "access_token_missing",
            "Unable to find token for provided application. Please run login command to generate token.",
        )
    print(text, end="")


def curl(session: Session) -> int:
    """curl's exit code. The token goes by curl's configuration on standard input of its own, not in its arguments."""
    words = list(session.asked.words)
    allow = len(words) > 1 and words[0] in ("--allow-request", "-ar")
    words = words[1:] if allow else words
    if not words:
        raise UsageError("Please provide the access app and command you wish to run.")
    url = application_url(words[0], where="access curl")
    found = application(url)
    text = kept_token(found)
    if text:
        _check(url, found, session.log, auto_close=False)
        text = kept_token(found)
    if not text and allow:
        session.log.info(
            "You don't have an Access token set. Please run access token <access application> to fetch one."
        )
    elif not text:
        text = token_for(url, found, session.log, host_only=True)
    return _run_curl(words, text)


def _run_curl(words: list[str], text: str) -> int:
    reader, writer = os.pipe()
    try:
        if text:
            os.write(writer, f'header = "Cf-Access-Token: {text}"\n'.encode())
        os.close(writer)
        config = ["--config", f"/dev/fd/{reader}"] if text else []
        return subprocess.run(["curl", *words, *config], pass_fds=[reader], check=False).returncode
    except FileNotFoundError:
        raise QanatError("usage", "there is no curl on this host", where="access curl", hint="install curl") from None
    finally:
        os.close(reader)


def token_for(url: str, found: Application, log: Log, *, host_only: bool = False, auto_close: bool = False) -> str:
    """The kept token, or one by the organisation's, or by a login in the browser; one process at a time asks for it."""
    if text := kept_token(found):
        return text
    with token_lock(found):
        return kept_token(found) or org_exchange(url, found, log) or log_in(url, found, log, host_only, auto_close)


def _url(session: Session) -> str:
    asked = session.asked
    if len(asked.words) > 1:
        raise UsageError("Please provide the url of the Access application: one of them")
    return application_url(asked.words[0] if asked.words else asked.text("app"), where="URL")


def _check(url: str, found: Application, log: Log, *, auto_close: bool) -> None:
    """A token that the application still takes is kept; another one is replaced. QanatError."""
    for attempt in range(2):
        text = token_for(url, found, log, auto_close=auto_close)
        if not is_login_answer(url, text):
            return
        if attempt:
            raise QanatError("login_failed", "failed to verify token", where=url)
        forget(found)
