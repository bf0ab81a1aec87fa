"""certbot with certbot-dns-cloudflare proves control of names in our zones; the environment names our API, nothing else.

`QANAT_TEST_PEBBLE` (a pebble binary) adds whole runs against a CA.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import josepy
import pytest
from acme import challenges, messages
from certbot import achallenges, errors
from certbot_dns_cloudflare._internal.dns_cloudflare import Authenticator
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import DNSName, SubjectAlternativeName, load_pem_x509_certificate

from tests.support.acme import Pebble, needs_pebble
from tests.support.control import Control
from tests.support.dns import Nameserver
from tests.support.processes import Process
from tests.support.waiting import wait_until

CERTBOT = [sys.executable, "-c", "import sys; from certbot.main import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certbot.display.util.notify", lambda _text: None)


def credentials(folder: Path, text: str) -> Path:
    file = folder / "cloudflare.ini"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return file


def authenticator(folder: Path, text: str) -> Any:
    settings = SimpleNamespace(
        dns_cloudflare_credentials=str(credentials(folder, text)), dns_cloudflare_propagation_seconds=0
    )
    return Authenticator(settings, "dns-cloudflare")


def challenge(domain: str, token: bytes, key: Any) -> Any:
    """What certbot's core hands over for one name (a wildcard's comes without its `*.`)."""
    body = messages.ChallengeBody(
        chall=challenges.DNS01(token=token * 32), uri="https://ca.test/1", status=messages.STATUS_PENDING
    )
    identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=domain)
    return achallenges.KeyAuthorizationAnnotatedChallenge(challb=body, identifier=identifier, account_key=key)


@pytest.fixture(scope="module")
def key() -> Any:
    return josepy.JWKRSA(key=rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture
def zone(control: Control, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", control.url)
    return control.create_zone(f"{request.node.originalname.replace('_', '-')}.test")


def texts(control: Control, zone: Any) -> list[tuple[str, str]]:
    records = control.call("GET", f"/zones/{zone['id']}/dns_records", type="TXT")
    return sorted((record["name"], record["content"]) for record in records)


@pytest.mark.case(35)
def test_apex_and_wildcard_together(control: Control, zone: Any, tmp_path: Path, key: Any) -> None:
    """Two values under one name stand side by side, and both go."""
    certbot = authenticator(tmp_path, f"dns_cloudflare_api_token = {control.token}")
    asked = [challenge(zone["name"], b"a", key), challenge(zone["name"], b"b", key)]
    deep = challenge(f"a.b.{zone['name']}", b"c", key)
    certbot.perform([*asked, deep])
    assert texts(control, zone) == sorted(
        [
            *((f"_acme-challenge.{zone['name']}", each.validation(key)) for each in asked),
            (f"_acme-challenge.a.b.{zone['name']}", deep.validation(key)),
        ]
    )
    certbot.cleanup([*asked, deep])
    assert texts(control, zone) == []


@pytest.mark.trap(20)
def test_a_run_after_a_killed_one(control: Control, zone: Any, tmp_path: Path, key: Any) -> None:
    """The record of before is an identical one (81058), which certbot takes for success; other values stay."""
    kept = control.create_record(zone["id"], type="TXT", name="_acme-challenge", content='"another"', ttl=120)
    asked = [challenge(zone["name"], b"a", key)]
    authenticator(tmp_path, f"dns_cloudflare_api_token = {control.token}").perform(asked)
    again = authenticator(tmp_path, f"dns_cloudflare_api_token = {control.token}")
    again.perform(asked)
    assert len(texts(control, zone)) == 2
    again.cleanup(asked)
    assert texts(control, zone) == [(kept["name"], kept["content"])]


@pytest.mark.trap(20)
def test_a_quoted_value_is_the_same_as_a_bare_one(control: Control, zone: Any, tmp_path: Path, key: Any) -> None:
    """lego and others send quotes, certbot none: it finds and removes its own value in either form."""
    asked = challenge(zone["name"], b"a", key)
    certbot = authenticator(tmp_path, f"dns_cloudflare_api_token = {control.token}")
    control.create_record(zone["id"], type="TXT", name="_acme-challenge", content=f'"{asked.validation(key)}"', ttl=120)
    certbot.perform([asked])
    assert len(texts(control, zone)) == 1
    certbot.cleanup([asked])
    assert texts(control, zone) == []


def test_a_wrong_token_gives_the_hint(zone: Any, tmp_path: Path, key: Any) -> None:
    certbot = authenticator(tmp_path, f"dns_cloudflare_api_token = {'x' * 40}")
    with pytest.raises(errors.PluginError, match=r"9109 .*Did you enter a valid Cloudflare Token\?"):
        certbot.perform([challenge(zone["name"], b"a", key)])


def test_a_token_that_may_not_edit_records_gives_the_hint(
    control: Control, zone: Any, tmp_path: Path, key: Any
) -> None:
    groups = {group["name"]: group["id"] for group in control.call("GET", "/user/tokens/permission_groups")}
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
        "permission_groups": [{"id": groups["Zone Read"]}],
    }
    token = control.call("POST", "/user/tokens", {"name": "zones only", "policies": [policy]})["value"]
    certbot = authenticator(tmp_path, f"dns_cloudflare_api_token = {token}")
    with pytest.raises(errors.PluginError, match=r'"Zone:DNS:Edit" permissions\?'):
        certbot.perform([challenge(zone["name"], b"a", key)])


def test_a_name_of_no_zone_is_refused_with_the_names_tried(
    control: Control, zone: Any, tmp_path: Path, key: Any
) -> None:
    certbot = authenticator(tmp_path, f"dns_cloudflare_api_token = {control.token}")
    with pytest.raises(
        errors.PluginError, match=r"using zone names: \['www\.nowhere\.test', 'nowhere\.test', 'test'\]"
    ):
        certbot.perform([challenge("www.nowhere.test", b"a", key)])


# -------------------------------------------------------------------------------------------------- with a CA
def certonly(folder: Path, control: Control, pebble: Pebble, *names: str, wait_s: int = 0) -> Process:
    """`certbot certonly`; `wait_s` is how long it lets DNS settle."""
    ini = credentials(folder, f"dns_cloudflare_api_token = {control.token}")
    state = [f"--{kind}-dir={folder / kind}" for kind in ("config", "work", "logs")]
    return Process(
        "certbot",
        [
            *CERTBOT,
            *("certonly", "--non-interactive", "--agree-tos", "--register-unsafely-without-email", "--force-renewal"),
            *("--server", pebble.directory, *state, "--dns-cloudflare", "--dns-cloudflare-credentials", str(ini)),
            *("--dns-cloudflare-propagation-seconds", str(wait_s), "--cert-name", "test"),
            *(flag for name in names for flag in ("-d", name)),
        ],
        {"CLOUDFLARE_BASE_URL": control.url, "REQUESTS_CA_BUNDLE": str(pebble.ca_file)},
    )


def names_of(certificate: Path) -> list[str]:
    found = load_pem_x509_certificate(certificate.read_bytes())
    return sorted(found.extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DNSName))


@needs_pebble
def test_whole_run_against_a_ca(control: Control, zone: Any, tmp_path: Path) -> None:
    with Nameserver(control) as nameserver, Pebble(tmp_path / "pebble", nameserver) as pebble:
        names = [zone["name"], f"*.{zone['name']}"]
        certbot = certonly(tmp_path, control, pebble, *names)
        assert certbot.wait(timeout_s=60.0) == 0, certbot.log()
        assert names_of(tmp_path / "config/live/test/cert.pem") == sorted(names)
        assert texts(control, zone) == []


@needs_pebble
def test_run_after_kill_9(control: Control, zone: Any, tmp_path: Path) -> None:
    """What the killed run left is in nobody's way; certbot knows nothing of it any more and leaves it."""
    with Nameserver(control) as nameserver, Pebble(tmp_path / "pebble", nameserver) as pebble:
        names = [zone["name"], f"*.{zone['name']}"]
        killed = certonly(tmp_path, control, pebble, *names, wait_s=60)
        wait_until(lambda: len(texts(control, zone)) == 2, "the records of the first run", timeout_s=60.0)
        killed.kill()
        left = texts(control, zone)
        certbot = certonly(tmp_path, control, pebble, *names)
        assert certbot.wait(timeout_s=60.0) == 0, certbot.log()
        assert names_of(tmp_path / "config/live/test/cert.pem") == sorted(names)
        assert set(texts(control, zone)) <= set(left)
