"""What a configuration may say but hardly means: told, never refused."""

from msgspec import Struct


class ConfigurationWarning(Struct, frozen=True):
    """`code` is stable, `where` such as `ingress[2].path`, `hint` the fix ("" when there is nothing to do)."""

    code: str
    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


WARNINGS: dict[str, str] = {
    "unknown_key": "a key that nobody knows, or not there: kept, without effect",
    "path_unanchored": "a path pattern matches anywhere in the path, not only at its start",
    "rule_unreachable": "an earlier rule takes every request that this one would",
    "hostname_not_canonical": "a hostname that stock connectors never match: a final dot, or capitals beside a `*`, `_` or `--`",
    "service_userinfo_ignored": "a user name in a service, which is never sent",
    "hostname_never_matches": "a hostname that no request can have",
    "service_part_ignored": "a query or fragment in a service: requests keep those they came with",
    "service_without_port": "a scheme that has no port of its own, and none is written",
    "access_lets_nobody_in": "`access.required` without a team or an audience: every request is answered 403",
    "socks_without_rules": "a SOCKS proxy without ipRules, which lets clients go nowhere",
    "origin_denied": "a link-local or metadata address, which a connector denies to pushed rules unless it is in --allow-origins",
    "service_is_own_hostname": "a service with the rule's own public hostname, which may lead back to the edge",
    "unix_path_relative": "a socket path that depends on the connector's working directory",
}
"""Every code and its meaning."""
