"""`/qanat/certificates`: what is refused has its status and points at what is wrong; keys come back from nowhere."""

import trustme

from tests.support.control import Control


def pair(*names: str) -> dict[str, str]:
    issued = trustme.CA().issue_cert(*names)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return {"certificate": chain.decode(), "private_key": issued.private_key_pem.bytes().decode()}


def test_a_certificate_is_uploaded_listed_and_deleted_and_its_key_is_never_shown(control: Control) -> None:
    zone = control.call("POST", "/zones", {"name": "c.test", "account": {"id": control.account}})
    path = f"/qanat/zones/{zone['id']}/certificates"
    made = control.call("POST", path, pair("app.c.test", "c.test"))
    assert (made["names"], made["source"], made["status"]) == (["app.c.test", "c.test"], "uploaded", "active")
    (listed,) = control.call("GET", "/qanat/certificates", zone_id=zone["id"])
    assert listed == made == control.call("GET", f"/qanat/certificates/{made['id']}")
    assert "KEY" not in str(made)
    status, _, message = control.refused("POST", f"/qanat/certificates/{made['id']}/renew")
    assert status == 409 and "no CA is asked" in message
    assert control.call("GET", "/qanat/status")["certificates"]["active"] == 1
    control.call("DELETE", f"/qanat/certificates/{made['id']}")
    assert control.refused("GET", f"/qanat/certificates/{made['id']}")[0] == 404
    for body, told in (
        ({**pair("c.test"), "private_key": pair("c.test")["private_key"]}, "doesn't belong"),
        ({**pair("c.test"), "certificate": "no PEM"}, "no PEM certificates"),
        (pair("bank.test"), "names nothing in c.test"),
    ):
        status, _, message = control.refused("POST", path, body)
        assert status == 400 and told in message


def test_those_of_files_are_listed_for_who_sees_everything_and_changed_on_the_host_alone(control: Control) -> None:
    chains = [pair("file.c.test")["certificate"].encode()]
    control.context.certificate_files = lambda: chains
    (listed,) = control.call("GET", "/qanat/certificates")
    assert (listed["names"], listed["source"], listed["status"]) == (["file.c.test"], "file", "active")
    assert listed == control.call("GET", f"/qanat/certificates/{listed['id']}")
    zone = control.call("POST", "/zones", {"name": "c.test", "account": {"id": control.account}})
    assert control.call("GET", "/qanat/certificates", zone_id=zone["id"]) == []
    for method, path in (("POST", "/renew"), ("DELETE", "")):
        status, _, message = control.refused(method, f"/qanat/certificates/{listed['id']}{path}")
        assert status == 409 and "is in a file" in message
    groups = {group["name"]: group["id"] for group in control.call("GET", "/user/tokens/permission_groups")}
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
        "permission_groups": [{"id": groups["Zone Read"]}],
    }
    weak = control.call("POST", "/user/tokens", {"name": "weak", "policies": [policy]})["value"]
    control.http.headers["authorization"] = f"Bearer {weak}"
    assert control.call("GET", "/qanat/certificates") == []
    assert control.refused("GET", f"/qanat/certificates/{listed['id']}")[0] == 404
