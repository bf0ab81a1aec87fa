"""CAA, CERT, TLSA, SMIMEA and SSHFP: who may issue, and what a key or certificate must be."""

import base64

from qanat.dns.record_types.base import DataType, Part, Scalar, base_64, hexadecimal, quoted, whole, word
from qanat.dns.record_types.services import text


def _number_or_word(bits: int) -> Part:
    number = whole(bits)

    def present(value: Scalar, where: str) -> str:
        return number(value, where) if str(value).strip().isdigit() else word(value, where)

    return Part(key="type", present=present, read=lambda rdata: int(rdata.certificate_type))


CAA = DataType(
    "CAA",
    [
        Part(key="flags", present=whole(8), read=lambda rdata: int(rdata.flags)),
        Part(key="tag", present=word, read=lambda rdata: text(rdata.tag)),
        Part(key="value", present=quoted, read=lambda rdata: text(rdata.value)),
    ],
)
CERT = DataType(
    "CERT",
    [
        _number_or_word(16),
        Part(key="key_tag", present=whole(16), read=lambda rdata: int(rdata.key_tag)),
        Part(key="algorithm", present=whole(8), read=lambda rdata: int(rdata.algorithm)),
        Part(
            key="certificate", present=base_64, read=lambda rdata: base64.b64encode(rdata.certificate).decode("ascii")
        ),
    ],
)
TLSA, SMIMEA = (
    DataType(
        name,
        [
            Part(key="usage", present=whole(8), read=lambda rdata: int(rdata.usage)),
            Part(key="selector", present=whole(8), read=lambda rdata: int(rdata.selector)),
            Part(key="matching_type", present=whole(8), read=lambda rdata: int(rdata.mtype)),
            Part(key="certificate", present=hexadecimal, is_canonical=True, read=lambda rdata: str(rdata.cert.hex())),
        ],
    )
    for name in ("TLSA", "SMIMEA")
)
SSHFP = DataType(
    "SSHFP",
    [
        Part(key="algorithm", present=whole(8), read=lambda rdata: int(rdata.algorithm)),
        Part(key="type", present=whole(8), read=lambda rdata: int(rdata.fp_type)),
        Part(
            key="fingerprint", present=hexadecimal, is_canonical=True, read=lambda rdata: str(rdata.fingerprint.hex())
        ),
    ],
)
