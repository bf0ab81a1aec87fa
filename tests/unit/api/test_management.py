import json
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from qanat.store.models import Audit
from tests.support.control import Control


def _check(control: Control, tunnel: Any, token: str, resources: list[str]) -> None:
    header = jwt.get_unverified_header(token)
    assert header["alg"] == "ES256"
    public = load_der_public_key(control.context.management.public)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    claims = jwt.decode(token, public, algorithms=["ES256"])
    assert claims["tun"] == {"id": tunnel["id"], "account_tag": control.account}
    UUID(claims["tun"]["id"])
    assert claims["actor"] == {"id": control.call("GET", "/user/tokens/verify")["id"], "support": False}
    assert claims["res"] == resources
    assert claims["exp"] - claims["iat"] == 3600


def test_both_forms_and_the_claims_that_cloudflared_checks(control: Control) -> None:
    tunnel = control.create_tunnel()
    path = f"{control.tunnels()}/{tunnel['id']}/management"
    _check(
        control,
        tunnel,
        control.call("POST", path, {"resources": ["logs", "host_details"]}),
        ["logs", "host_details", "ping"],
    )
    for resource in ("logs", "admin", "host_details"):
        answer = control.http.post(f"{path}/{resource}", headers={"content-type": "application/json"})
        _check(control, tunnel, answer.json()["result"], ["logs", "ping"] if resource == "logs" else [resource])
    with control.store.reading() as session:
        row = session.query(Audit).order_by(Audit.seq.desc()).first()
    assert row is not None
    assert (row.action, row.object_id) == ("tunnel.management_token", tunnel["id"])
    assert json.loads(row.detail)["resources"] == ["host_details"]


@pytest.mark.parametrize(
    "body", [{}, {"resources": []}, {"resources": ["nope"]}, {"resources": "logs"}, {"resources": [1]}]
)
def test_bad_ones(control: Control, body: dict[str, Any]) -> None:
    path = f"{control.tunnels()}/{control.create_tunnel()['id']}/management"
    assert control.refused("POST", path, body)[0] == 400


def test_an_unknown_resource_and_a_deleted_tunnel(control: Control) -> None:
    tunnel = control.create_tunnel()
    path = f"{control.tunnels()}/{tunnel['id']}/management"
    assert control.refused("POST", f"{path}/nope")[0] == 400
    control.call("DELETE", f"{control.tunnels()}/{tunnel['id']}")
    assert control.refused("POST", f"{path}/logs")[0] == 404
