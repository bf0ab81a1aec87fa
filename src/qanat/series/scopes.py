"""What a series is about: everything, an account, a tunnel, or a hostname by one of its tunnels."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self


def key(kind: str, *names: str) -> int:
    """By what an entry is found in a frame: 63 bits, so that no list of names has to be kept, or to be forgotten."""
    text = "\0".join((kind, *names)).encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class Scope:
    """One series, or several that are added up. Whoever reads it has been asked before whether they may."""

    keys: tuple[int, ...]

    @classmethod
    def everything(cls) -> Self:
        """All that passed, with the edge's own failures by cause."""
        return cls((key("all"),))

    @classmethod
    def account(cls, account_id: str) -> Self:
        """All of an account's tunnels."""
        return cls((key("account", account_id),))

    @classmethod
    def tunnel(cls, tunnel_id: str) -> Self:
        """All hostnames of a tunnel."""
        return cls((key("tunnel", tunnel_id),))

    @classmethod
    def hostname(cls, hostname: str, *tunnel_ids: str) -> Self:
        """A hostname, as its route names it, by those of its tunnels that are given."""
        return cls(tuple(key("hostname", hostname, each) for each in tunnel_ids))
