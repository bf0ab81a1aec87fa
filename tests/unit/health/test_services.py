"""How the services behind hostnames can be asked, by the rules of their tunnel."""

import json

import pytest

from qanat.control import configurations, tunnels
from qanat.health.services import HTTP, Access, Services
from qanat.store import Store
from qanat.store.models import Tunnel
from qanat.store.sealing import Sealer
from tests.support.writes import written

RULES = [
    {"hostname": "ssh.example.test", "service": "ssh://127.0.0.1:22"},
    {"hostname": "app.example.test", "path": "^/tcp", "service": "tcp://127.0.0.1:5432"},
    {"hostname": "app.example.test", "service": "http://127.0.0.1:8000"},
    {"hostname": "jump.example.test", "service": "bastion"},
    {"hostname": "*.example.test", "service": "rdp://127.0.0.1:3389"},
    {"service": "http_status:404"},
]


@pytest.fixture
def tunnel(store: Store, sealer: Sealer, account: str) -> str:
    made = written(
        store, tunnels.create, sealer, account_id=account, name="a", secret=bytes(32), config_src="cloudflare"
    )
    return made.id


def put(store: Store, account: str, tunnel: str, rules: object) -> None:
    written(
        store,
        configurations.put,
        account_id=account,
        tunnel_id=tunnel,
        document={"ingress": rules},
        source="cloudflare",
    )


def read(store: Store, services: Services, tunnel: str) -> Services:
    with store.reading() as session:
        services.read(session, [tunnel])
    return services


def test_the_rule_that_takes_a_hostname_says_how_it_is_asked(store: Store, account: str, tunnel: str) -> None:
    put(store, account, tunnel, RULES)
    services = read(store, Services(), tunnel)
    assert services.of(tunnel, "ssh.example.test", "/") == Access("connect", "ssh://127.0.0.1:22")
    assert services.of(tunnel, "app.example.test", "/up?x=/tcp") == Access("http", "http://127.0.0.1:8000")
    assert services.of(tunnel, "app.example.test", "/tcp").kind == "connect"
    assert services.of(tunnel, "jump.example.test", "/") == Access("none", "bastion")
    assert services.of(tunnel, "x.example.test", "/").kind == "connect"
    assert services.of(tunnel, "x.other.test", "/").kind == "http"
    assert services.of("another", "ssh.example.test", "/") == HTTP, "nobody told its rules"


def test_a_newer_version_counts_and_what_a_connector_told_of_its_own_file(
    store: Store, account: str, tunnel: str
) -> None:
    with store.recording() as write:
        told = {"ingress": [{"service": "ssh://127.0.0.1:22"}]}
        write.session.get_one(Tunnel, tunnel).local_configuration = json.dumps(told)
        write.session.get_one(Tunnel, tunnel).local_configuration_at = write.at
    services = read(store, Services(), tunnel)
    assert services.of(tunnel, "ssh.example.test", "/").kind == "connect"
    put(store, account, tunnel, [{"service": "http://127.0.0.1:8000"}])
    assert read(store, services, tunnel).of(tunnel, "ssh.example.test", "/") == HTTP
    put(store, account, tunnel, RULES)
    assert read(store, services, tunnel).of(tunnel, "ssh.example.test", "/").kind == "connect"
