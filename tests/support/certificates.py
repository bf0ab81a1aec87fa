"""A throw-away authority for TLS origins."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class OriginAuthority:
    """`ca_file` is what a rule's `caPool` names."""

    authority: trustme.CA
    ca_file: Path

    @classmethod
    def make(cls, folder: Path) -> "OriginAuthority":
        authority = trustme.CA()
        ca_file = folder / "origin-ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        return cls(authority, ca_file)

    def server_context(self, *names: str, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context
