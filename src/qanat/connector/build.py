"""What this connector is, as its first lines of the log say it: version, checksum, key exchanges with the edge."""

import base64
import binascii
from pathlib import Path

import qanat
from qanat.connector.engine import __version__

CURVES = ("X25519MLKEM768", "X25519", "CurveP256", "CurveP384")
"""In the engine's order of preference, under Go's names; with --post-quantum the first alone."""


def version_line() -> str:
    """As stock's, which scripts match."""
    return f"Version {__version__} (Checksum {checksum() or 'unknown'})"


def checksum() -> str | None:
    """SHA-256 of the engine, in hexadecimal, as the installed wheel's RECORD has it: to reckon it at every start would cost more
    than the rest of that. None where there is no wheel (a checkout)."""
    packages = Path(qanat.__file__).parent.parent
    try:
        record = (packages / f"qanat-{__version__}.dist-info" / "RECORD").read_text(encoding="utf-8")
        line = next(line for line in record.splitlines() if line.startswith("qanat/_engine") and "sha256=" in line)
        digits = line.partition("sha256=")[2].partition(",")[0]
        return base64.urlsafe_b64decode(digits + "=").hex()
    except (OSError, StopIteration, binascii.Error):
        return None


def curves_line(*, post_quantum: bool) -> str:
    """As stock's."""
    return f"Tunnel connection curve preferences: [{' '.join(CURVES[:1] if post_quantum else CURVES)}]"
