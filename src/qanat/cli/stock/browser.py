"""What is granted on a page in the user's browser and fetched here, from where the page leaves it: a certificate, or tokens."""

import os
import shutil
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from urllib.parse import urlencode, urlsplit, urlunsplit

from qanat.client.transport import AddressError, Response, Transport, TransportError
from qanat.connector.log import Log
from qanat.errors import QanatError

STORE = "https://login.cloudflareaccess.org/"
ATTEMPTS = 10
PATIENCE_S = 60.0
PAUSE_S = 1.0
"""A store that answers at once isn't asked more often."""


def new_key() -> str:
    """Names what is fetched: whoever knows it gets it, so it is as long as stock's, a public key."""
    return urlsafe_b64encode(os.urandom(32)).decode()


def show(url: str, what: str) -> None:
    """Opens the page, or says where it is."""
    if _open(url):
        text = (
            f"A browser window should have opened at the following URL:\n\n{url}\n\nIf the browser failed to open, please visit "
            "the URL above directly in your browser.\n"
        )
    else:
        text = (
            f"Please open the following URL and log in with your account:\n\n{url}\n\nLeave this running to download the {what} "
            "automatically.\n"
        )
    print(text, file=sys.stderr)


def page(address: str, **fields: str) -> str:
    """The page's URL with these fields."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise QanatError("flag_value_invalid", f"'{address[:80]}' is no URL of a page", where="--loginURL")
    query = "&".join(each for each in (parts.query, urlencode(fields)) if each)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def fetch(address: str, log: Log) -> Response:
    """What is left at an address, once it is there. QanatError `login_failed`."""
    parts = urlsplit(address)
    transport = Transport(f"{parts.scheme}://{parts.netloc}", timeout_s=PATIENCE_S, use_proxies=True)
    try:
        end = time.monotonic() + ATTEMPTS * PATIENCE_S
        while time.monotonic() < end:
            began = time.monotonic()
            answer = transport.request("GET", parts.path, query={}, headers=[("user-agent", "qanat")], body=None)
            if answer.status >= 500:
                reason = answer.body[:200].decode("utf-8", "replace")
                raise QanatError("login_failed", f"error on request {answer.status}: {reason}")
            if answer.status == 200 and answer.body:
                return answer
            log.info("Waiting for login...")
            time.sleep(max(0.0, PAUSE_S - (time.monotonic() - began)))
    except (AddressError, TransportError) as error:
        raise QanatError("login_failed", f"{parts.netloc}: {error}") from error
    finally:
        transport.close()
    raise QanatError("login_failed", "Failed to fetch resource", hint="try again, and grant it within ten minutes")


def _open(url: str) -> bool:
    """A desktop's own opener; a terminal's browser would take the terminal."""
    if sys.platform == "darwin":
        program: str | None = "open"
    elif os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        program = shutil.which("xdg-open")
    else:
        program = None
    if program is None:
        return False
    try:
        subprocess.Popen(
            [program, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True
