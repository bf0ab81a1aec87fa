"""cert.pem: what `tunnel login` leaves, and what stock commands know the API's account, zone and token by."""

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from pathlib import Path
from textwrap import wrap

from msgspec import Struct, structs

from qanat.connector.sources import SEARCH_PATHS, expanded
from qanat.errors import QanatError

NAME = "cert.pem"
KIND = "ARGO TUNNEL TOKEN"
COLUMNS = 64
LARGEST = 1 << 20

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)\s*-----END \1-----", re.DOTALL)


class Certificate(Struct, frozen=True):
    """`api_url`: the API that made it, which a qanat writes and a stock cloudflared passes over; `endpoint` as stock has it."""

    zone_id: str
    account_id: str
    api_token: str
    endpoint: str = ""
    api_url: str = ""
    path: str = ""

    @property
    def folder(self) -> Path:
        """Where credentials files lie beside it."""
        return Path(self.path).parent


def default_path(home: str) -> str | None:
    """The first that is there, where stock looks for it."""
    places = (Path(expanded(folder, home)) / NAME for folder in SEARCH_PATHS)
    return next((str(place) for place in places if place.is_file()), None)


def read(path: str) -> Certificate:
    """QanatError `origin_certificate_invalid`, in stock's words."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(LARGEST).decode("utf-8", "replace")
    except OSError as error:
        message = f"Can't read origin cert from {path}: cannot read {path} to load origin certificate"
        raise _invalid(message, error.strerror or "it can't be read") from None
    found = decode(text)
    if not found.account_id:
        message = f"Origin certificate needs to be refreshed before creating new tunnels. Delete {path}"
        raise _invalid(message, "`qanat tunnel login` gets a new one")
    return Certificate(found.zone_id, found.account_id, found.api_token, found.endpoint, found.api_url, str(Path(path)))


def decode(text: str) -> Certificate:
    """The certificate in a PEM text. QanatError `origin_certificate_invalid`."""
    if not text:
        raise _invalid("Error decoding origin cert: cannot decode empty certificate", None)
    fields: dict[str, object] = {}
    for kind, body in _BLOCK.findall(text):
        if kind in ("PRIVATE KEY", "CERTIFICATE"):  # of the classic tunnels
            continue
        if kind != KIND:
            raise _invalid(f"Error decoding origin cert: unknown block {kind} in the certificate", None)
        if fields:
            raise _invalid("Error decoding origin cert: found multiple tokens in the certificate", None)
        try:
            read = json.loads(b64decode("".join(body.split()), validate=True))
        except (Base64Error, ValueError, RecursionError):
            read = {}
        fields = read if isinstance(read, dict) else {}
    found = {name: _text(fields, name) for name in ("zoneID", "accountID", "apiToken", "endpoint", "apiURL")}
    if not found["zoneID"] or not found["apiToken"]:
        raise _invalid(
            "Error decoding origin cert: missing token in the certificate",
            "`qanat tunnel login` or `qanat zone certificate` makes one",
        )
    return Certificate(
        found["zoneID"], found["accountID"], found["apiToken"], found["endpoint"].lower(), found["apiURL"]
    )


def encode(certificate: Certificate) -> str:
    """The PEM text, as stock reads it."""
    fields = {
        "zoneID": certificate.zone_id,
        "accountID": certificate.account_id,
        "apiToken": certificate.api_token,
        **({"endpoint": certificate.endpoint} if certificate.endpoint else {}),
        **({"apiURL": certificate.api_url} if certificate.api_url else {}),
    }
    body = b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()
    return "\n".join([f"-----BEGIN {KIND}-----", *wrap(body, COLUMNS), f"-----END {KIND}-----", ""])


def with_api(text: str, api_url: str) -> str:
    """The certificate of an API, which says where that is."""
    return encode(structs.replace(decode(text), api_url=api_url))


def _text(fields: dict[str, object], name: str) -> str:
    """Keys in any case, as Go reads them."""
    value = next((value for key, value in fields.items() if key.lower() == name.lower()), "")
    return value if isinstance(value, str) else ""


def _invalid(message: str, hint: str | None) -> QanatError:
    return QanatError("origin_certificate_invalid", message, hint=hint)
