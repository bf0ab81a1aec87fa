"""Zones and their records."""

from collections.abc import Mapping
from typing import Any

from qanat.client.http import Calls, converted, policy_header
from qanat.client.shapes import Imported, OriginCertificate, Record, Zone
from qanat.errors import QanatError
from qanat.ids import parse_hostname

TUNNEL_SUFFIX = ".cfargotunnel.com"


class ZoneCalls(Calls):
    """`/zones` and `/zones/{z}/dns_records`."""

    def zones(self, *, name: str | None = None) -> list[Zone]:
        """Those that the token sees; `name` exactly."""
        return list(self._pages("/zones", Zone, {"name": name} if name else {}))

    def create_zone(self, account_id: str, name: str) -> Zone:
        """A zone of the account."""
        return self._one("POST", "/zones", Zone, body={"name": name, "account": {"id": account_id}})

    def pause_zone(self, zone_id: str, *, paused: bool) -> Zone:
        """The zone, paused (no hostname of it is served) or not."""
        return self._one("PATCH", f"/zones/{zone_id}", Zone, body={"paused": paused})

    def delete_zone(self, zone_id: str) -> None:
        """The zone and its records."""
        self._call("DELETE", f"/zones/{zone_id}")

    def zone_setting(self, zone_id: str, name: str) -> dict[str, Any]:
        """`{id, value, editable, modified_on}`."""
        return self._one("GET", f"/zones/{zone_id}/settings/{name}", dict[str, Any])

    def zone_settings(self, zone_id: str) -> list[dict[str, Any]]:
        """All of them."""
        return self._one("GET", f"/zones/{zone_id}/settings", list[dict[str, Any]])

    def set_zone_setting(self, zone_id: str, name: str, value: Any) -> dict[str, Any]:
        """The setting as it is then. QanatError `api_refused` for one that can't be set, or not so."""
        return self._one("PATCH", f"/zones/{zone_id}/settings/{name}", dict[str, Any], body={"value": value})

    def error_pages(self, zone_id: str) -> list[dict[str, Any]]:
        """Both kinds; `content` None: the edge's page."""
        return self._one("GET", f"/qanat/zones/{zone_id}/error-pages", list[dict[str, Any]])

    def put_error_page(self, zone_id: str, kind: str, content: str) -> dict[str, Any]:
        """HTML of the zone's own."""
        path = f"/qanat/zones/{zone_id}/error-pages/{kind}"
        return self._one("PUT", path, dict[str, Any], body={"content": content})

    def delete_error_page(self, zone_id: str, kind: str) -> None:
        """The edge's page again."""
        self._call("DELETE", f"/qanat/zones/{zone_id}/error-pages/{kind}")

    def origin_certificate(self, zone_id: str) -> str:
        """A new cert.pem for `cloudflared tunnel …` commands: it holds a secret."""
        path = f"/qanat/zones/{zone_id}/origin-certificate"
        return self._one("POST", path, OriginCertificate).certificate

    def find_zone(self, hostname_or_id: str) -> Zone:
        """The zone of this name or id, or the closest one above a hostname. QanatError `zone_unknown`."""
        zones = self.zones()
        wanted = folded(hostname_or_id)
        for zone in zones:
            if wanted in (zone.id, folded(zone.name)):
                return zone
        above = [zone for zone in zones if wanted.endswith(f".{folded(zone.name)}")]
        if not above:
            raise QanatError(
                "zone_unknown", f"no zone holds {hostname_or_id!r}", hint="make one by `qanat zone create`"
            )
        return max(above, key=lambda zone: len(folded(zone.name)))

    def zone_itself(self, name_or_id: str) -> Zone:
        """As `find_zone`, but never one above. QanatError `zone_unknown`."""
        found = self.find_zone(name_or_id)
        if folded(name_or_id) not in (found.id, folded(found.name)):
            raise QanatError("zone_unknown", f"{name_or_id} is not a zone itself; it is in {found.name}")
        return found

    # ------------------------------------------------------------ records

    def records(
        self, zone_id: str, *, name: str | None = None, type: str | None = None, search: str | None = None
    ) -> list[Record]:
        """All of the zone, or those that match."""
        query = {key: value for key, value in (("name", name), ("type", type), ("search", search)) if value}
        return list(self._pages(f"/zones/{zone_id}/dns_records", Record, query))

    def find_record(self, zone: Zone, name_or_id: str, *, type: str | None = None) -> Record:
        """By id, or by name when only one record (of the type) has it. QanatError `record_unknown`."""
        wanted = folded(name_or_id)
        wanted = folded(zone.name) if wanted == "@" else wanted
        matching = [
            each for each in self.records(zone.id) if wanted in (each.id, each.name) and type in (None, each.type)
        ]
        if len(matching) != 1:
            count = "no record" if not matching else f"{len(matching)} records"
            raise QanatError(
                "record_unknown" if not matching else "record_ambiguous",
                f"{count} of {zone.name} match {name_or_id!r}",
                hint="see `qanat record list`; an id, or a name with --type, names one",
            )
        return matching[0]

    def create_record(
        self, zone_id: str, *, name: str, type: str, content: str, proxied: bool = False, ttl: int = 1
    ) -> Record:
        """A record."""
        body = {"name": name, "type": type, "content": content, "proxied": proxied, "ttl": ttl}
        return self.put_record(zone_id, body)

    def put_record(
        self,
        zone_id: str,
        fields: Mapping[str, Any],
        *,
        record_id: str | None = None,
        cutover_policy: str | None = None,
    ) -> Record:
        """A new record of these fields, or an existing one changed in these. `cutover_policy`: for this change alone."""
        headers = policy_header(cutover_policy)
        path = f"/zones/{zone_id}/dns_records"
        if record_id is None:
            return self._one("POST", path, Record, body=dict(fields))
        return self._one("PATCH", f"{path}/{record_id}", Record, body=dict(fields), headers=headers)

    def route_hostname(self, zone_id: str, hostname: str, tunnel_id: str) -> Record:
        """A proxied CNAME of the hostname to the tunnel."""
        return self.create_record(zone_id, name=hostname, type="CNAME", content=tunnel_id + TUNNEL_SUFFIX, proxied=True)

    def route_dns(self, zone_id: str, hostname: str, tunnel_id: str, *, overwrite: bool = False) -> dict[str, Any]:
        """As `cloudflared tunnel route dns`: `{cname: new|updated|unchanged, name, dns_tag}`."""
        body = {"type": "dns", "user_hostname": hostname, "overwrite_existing": overwrite}
        return self._one("PUT", f"/zones/{zone_id}/tunnels/{tunnel_id}/routes", dict[str, Any], body=body)

    def delete_record(self, zone_id: str, record_id: str) -> None:
        """The record."""
        self._call("DELETE", f"/zones/{zone_id}/dns_records/{record_id}")

    def batch_records(self, zone_id: str, batch: Mapping[str, Any]) -> dict[str, list[Record]]:
        """`{deletes, patches, puts, posts}` in one transaction."""
        path = f"/zones/{zone_id}/dns_records/batch"
        return self._one("POST", path, dict[str, list[Record]], body=dict(batch))

    def export_records(self, zone_id: str) -> str:
        """The zone as a BIND zone file."""
        with self._streamed(f"/zones/{zone_id}/dns_records/export") as pieces:
            return b"".join(pieces).decode("utf-8", "replace")

    def import_records(self, zone_id: str, zone_file: str, *, proxied: bool = False) -> Imported:
        """Records from a BIND zone file. QanatError `api_unreachable` when the answer is none."""
        path = f"/zones/{zone_id}/dns_records/import"
        answer = self._call(
            "POST",
            path,
            files={"file": ("zone.txt", zone_file.encode(), "text/plain")},
            form={"proxied": "true" if proxied else "false"},
        )
        return converted(answer.get("result"), Imported, path)


def folded(name: str) -> str:
    """In the form that records' names have: APIs answer zones' names in Unicode. An id, `@` and what isn't a name stay."""
    try:
        return parse_hostname(name)
    except QanatError:
        return name.lower().removesuffix(".")
