"""octodns with octodns-cloudflare: zones as files are put on our API, read back, and found to be in place."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from octodns.manager import Manager
from octodns_cloudflare import CloudflareAuthenticationError, CloudflareError

from tests.support.control import Control

# octodns' own announcements
pytestmark = pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning:octodns")

MANY = 345
"""More than three of its pages."""
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
# every type that the provider has and we serve, the forms that public repositories use
ALL_TYPES: dict[str, Any] = {
    "": [
        {"type": "A", "ttl": 300, "values": ["192.0.2.1", "192.0.2.2"]},
        {"type": "AAAA", "ttl": 300, "value": "2001:db8::1"},
        {"type": "CAA", "ttl": 3600, "values": [{"flags": 0, "tag": "issue", "value": "letsencrypt.org"}]},
        {
            "type": "MX",
            "ttl": 3600,
            "values": [
                {"preference": 10, "exchange": "mail.example.net."},
                {"preference": 20, "exchange": "mail2.example.net."},
            ],
        },
        {"type": "TXT", "ttl": 600, "values": ["v=spf1 -all", "k=v\\; p=q", "x" * 400]},
    ],
    "_443._tcp.www": {
        "type": "TLSA",
        "ttl": 600,
        "value": {
            "certificate_usage": 3,
            "selector": 1,
            "matching_type": 1,
            "certificate_association_data": "ab" * 32,
        },
    },
    "_sip._tcp": {
        "type": "SRV",
        "ttl": 600,
        "value": {"priority": 1, "weight": 2, "port": 5060, "target": "sip.example.net."},
    },
    "child": [
        {"type": "DS", "ttl": 600, "value": {"key_tag": 2371, "algorithm": 13, "digest_type": 2, "digest": "CD" * 32}},
        {"type": "NS", "ttl": 600, "values": ["ns1.example.net.", "ns2.example.net."]},
    ],
    "host": {"type": "SSHFP", "ttl": 600, "value": {"algorithm": 4, "fingerprint_type": 2, "fingerprint": "ef" * 32}},
    "loc": {
        "type": "LOC",
        "ttl": 600,
        "value": {
            "lat_degrees": 52,
            "lat_minutes": 22,
            "lat_seconds": 23.0,
            "lat_direction": "N",
            "long_degrees": 4,
            "long_minutes": 53,
            "long_seconds": 32.0,
            "long_direction": "E",
            "altitude": -2.0,
            "size": 1.0,
            "precision_horz": 10000.0,
            "precision_vert": 10.0,
        },
    },
    "naptr": {
        "type": "NAPTR",
        "ttl": 600,
        "value": {
            "order": 10,
            "preference": 20,
            "flags": "S",
            "service": "SIP+D2U",
            "regexp": "",
            "replacement": "_sip._udp.example.net.",
        },
    },
    "ptr": {"type": "PTR", "ttl": 600, "value": "target.example.net."},
    "svc": {
        "type": "HTTPS",
        "ttl": 600,
        "value": {"svcpriority": 1, "targetname": ".", "svcparams": {"alpn": ["h2", "h3"], "ipv4hint": ["192.0.2.3"]}},
    },
    "svcb": {
        "type": "SVCB",
        "ttl": 600,
        "value": {"svcpriority": 1, "targetname": "svc.example.net.", "svcparams": {"port": "8443"}},
    },
    "tunnelled": {
        "type": "CNAME",
        "ttl": 300,
        "value": f"{TUNNEL}.cfargotunnel.com.",
        "octodns": {"cloudflare": {"proxied": True}},
    },
    "www": {"type": "CNAME", "ttl": 300, "value": "elsewhere.example.net."},
}


class Repository:
    """A folder of zone files and octodns on it."""

    def __init__(self, folder: Path, control: Control, tunnel: str) -> None:
        self.tunnel = tunnel
        self.zones = folder / "zones"
        self.zones.mkdir()
        self.file = folder / "octodns.yaml"
        self.provider: dict[str, Any] = {
            "class": "octodns_cloudflare.CloudflareProvider",
            "api_url": control.url + "/",
            "token": control.token,
            "retry_count": 0,  # a wait of minutes would only hide that the API asked for one
        }

    def manager(self, zone: str) -> Any:
        yaml_files = {
            "class": "octodns.provider.yaml.YamlProvider",
            "directory": str(self.zones),
            "enforce_order": False,
        }
        configuration = {
            "manager": {"plan_outputs": {"json": {"class": "octodns.provider.plan.PlanJson"}}},
            "providers": {"files": yaml_files, "qanat": self.provider},
            "zones": {zone: {"sources": ["files"], "targets": ["qanat"]}},
        }
        self.file.write_text(yaml.safe_dump(configuration))
        return Manager(str(self.file))

    def write(self, zone: str, records: dict[str, Any]) -> None:
        (self.zones / f"{zone}yaml").write_text(yaml.safe_dump(records).replace(TUNNEL, self.tunnel))

    def sync(self, zone: str) -> int:
        """How many changes were applied."""
        return int(self.manager(zone).sync(dry_run=False, force=True, plan_output_fh=io.StringIO()))

    def plan(self, zone: str) -> Any:
        """What a sync would change; empty when nothing."""
        out = io.StringIO()
        self.manager(zone).sync(dry_run=True, force=True, plan_output_fh=out)
        return json.loads(out.getvalue()).get("qanat", {}).get(zone, {})

    def dump(self, zone: str, into: Path) -> dict[str, Any]:
        """The zone as it is on the API."""
        self.manager(zone).dump(zone=zone, output_dir=str(into), sources=["qanat"])
        found: dict[str, Any] = yaml.safe_load((into / f"{zone}yaml").read_text())
        return found


@pytest.fixture(scope="module")
def tunnel(control: Control) -> str:
    made: str = control.create_tunnel()["id"]
    return made


@pytest.fixture
def repository(tmp_path: Path, control: Control, tunnel: str) -> Repository:
    return Repository(tmp_path, control, tunnel)


def test_a_new_zone_of_all_types_is_in_place_after_one_sync(repository: Repository, control: Control) -> None:
    """The zone is made, and neither page rules nor a second plan complain."""
    repository.write("octo.test.", ALL_TYPES)
    assert repository.sync("octo.test.") == sum(len(of_name(records)) for records in ALL_TYPES.values())
    assert control.call("GET", "/zones", name="octo.test")[0]["account"]["id"] == control.account
    assert repository.plan("octo.test.") == {}
    assert repository.sync("octo.test.") == 0


def test_dumped_zone_equals_the_files(repository: Repository, tmp_path: Path) -> None:
    repository.write("dump.test.", ALL_TYPES)
    repository.sync("dump.test.")
    dumped = repository.dump("dump.test.", tmp_path / "dump")
    assert set(dumped) == set(ALL_TYPES)
    repository.write("dump.test.", dumped)
    assert repository.plan("dump.test.") == {}


def test_changes_and_deletions_are_applied(repository: Repository, tmp_path: Path) -> None:
    repository.write("change.test.", ALL_TYPES)
    repository.sync("change.test.")
    changed = copy.deepcopy(ALL_TYPES)
    changed[""][0]["values"] = ["192.0.2.2", "192.0.2.3"]
    changed[""][3]["values"][0]["preference"] = 5
    changed["_sip._tcp"]["value"]["port"] = 5061
    changed["loc"]["ttl"] = 900
    changed["svc"]["value"]["svcparams"]["alpn"] = ["h2"]
    changed["www"]["octodns"] = {"cloudflare": {"proxied": True}}
    del changed["ptr"]
    changed["new"] = {"type": "A", "ttl": 300, "value": "192.0.2.9"}
    repository.write("change.test.", changed)
    assert repository.sync("change.test.") == 8
    assert repository.plan("change.test.") == {}


@pytest.mark.case(64)
def test_all_records_of_a_large_zone_are_seen(repository: Repository, control: Control) -> None:
    zone = control.create_zone("large.test")
    posts: list[dict[str, Any]] = [
        {"type": "A", "name": f"n{number}", "content": f"10.0.{number // 250}.{number % 250}", "ttl": 300}
        for number in range(MANY)
    ]
    control.call("POST", f"/zones/{zone['id']}/dns_records/batch", {"posts": posts})
    repository.write(
        "large.test.", {post["name"]: {"type": "A", "ttl": 300, "value": post["content"]} for post in posts}
    )
    assert repository.plan("large.test.") == {}


def test_plan_type_is_what_the_zone_has(repository: Repository) -> None:
    """Asks for `available_plans`, and finds the only one in force."""
    repository.provider["plan_type"] = "free"
    repository.write("plan.test.", {"www": ALL_TYPES["www"]})
    assert repository.sync("plan.test.") == 1
    assert repository.plan("plan.test.") == {}


def test_a_refusal_shows_the_reason(repository: Repository) -> None:
    repository.write("refused.test.", {"www": [ALL_TYPES["www"], {"type": "A", "ttl": 300, "value": "192.0.2.1"}]})
    with pytest.raises(CloudflareError, match="already exist"):
        # octodns itself refuses the file unless told to be lenient
        manager = repository.manager("refused.test.")
        manager.config["zones"]["refused.test."]["lenient"] = True
        manager.sync(dry_run=False, force=True, plan_output_fh=io.StringIO())


def test_a_wrong_token_is_an_authentication_error(repository: Repository) -> None:
    repository.provider["token"] = "x" * 40
    repository.write("wrong.test.", {"www": ALL_TYPES["www"]})
    with pytest.raises(CloudflareAuthenticationError):
        repository.sync("wrong.test.")


def of_name(records: Any) -> list[Any]:
    return records if isinstance(records, list) else [records]
