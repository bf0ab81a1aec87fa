"""DS and DNSKEY."""

import base64

from qanat.dns.record_types.base import DataType, Part, base_64, hexadecimal, whole

DS = DataType(
    "DS",
    [
        Part(key="key_tag", present=whole(16), read=lambda rdata: int(rdata.key_tag)),
        Part(key="algorithm", present=whole(8), read=lambda rdata: int(rdata.algorithm)),
        Part(key="digest_type", present=whole(8), read=lambda rdata: int(rdata.digest_type)),
        Part(key="digest", present=hexadecimal, is_canonical=True, read=lambda rdata: str(rdata.digest.hex())),
    ],
)
DNSKEY = DataType(
    "DNSKEY",
    [
        Part(key="flags", present=whole(16), read=lambda rdata: int(rdata.flags)),
        Part(key="protocol", present=whole(8), read=lambda rdata: int(rdata.protocol)),
        Part(key="algorithm", present=whole(8), read=lambda rdata: int(rdata.algorithm)),
        Part(key="public_key", present=base_64, read=lambda rdata: base64.b64encode(rdata.key).decode("ascii")),
    ],
)
