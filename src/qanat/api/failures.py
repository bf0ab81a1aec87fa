"""Our error codes as HTTP status and v4 code (api.md 0.2, 2, 3.4). One table, read top to bottom."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """`chain`: the code of the `error_chain` entry. `points`: the error names a field of the body. `under`: where that
    field's path starts. `names_place`: the message says where (not where stock clients match the text)."""

    status: int
    code: int
    chain: int | None = None
    points: bool = False
    under: str = ""
    names_place: bool = True


FAILURES: dict[str, Failure] = {
    # who asks
    "credentials_missing": Failure(400, 6003, chain=6112, names_place=False),
    "credentials_malformed": Failure(400, 6003, chain=6111, names_place=False),
    "credentials_unknown": Failure(403, 9103, names_place=False),
    "credentials_unsupported": Failure(403, 10000, names_place=False),
    "token_refused": Failure(403, 9109, names_place=False),
    "token_invalid_on_verify": Failure(401, 1000, names_place=False),
    # the request
    "endpoint_unknown": Failure(404, 7000, names_place=False),
    "method_not_allowed": Failure(405, 10405, names_place=False),
    "body_too_large": Failure(400, 10413, names_place=False),
    "body_malformed": Failure(400, 6007, points=True),
    "request_bad_time": Failure(400, 10001),
    # objects
    "account_unknown": Failure(404, 7003, names_place=False),
    "zone_unknown": Failure(404, 7003, names_place=False),
    "user_unknown": Failure(404, 7003, names_place=False),
    "request_unknown": Failure(404, 7003, names_place=False),
    "bad_id": Failure(404, 7003, names_place=False),
    # tunnels
    "tunnel_unknown": Failure(404, 1002, names_place=False),
    "connector_unknown": Failure(404, 1002, names_place=False),
    "tunnel_name_taken": Failure(409, 1013, points=True, names_place=False),
    "tunnel_has_connections": Failure(400, 1022, names_place=False),
    "tunnel_bad_name": Failure(400, 1001, points=True),
    "tunnel_bad_secret": Failure(400, 1001, points=True),
    "tunnel_bad_config_src": Failure(400, 1001, points=True),
    # zones and records
    "zone_exists": Failure(400, 1061, points=True, names_place=False),
    "bad_hostname": Failure(400, 1004, points=True),
    "record_unknown": Failure(404, 81044, names_place=False),
    "record_identical": Failure(400, 81058, names_place=False),
    "record_exists": Failure(400, 81057, names_place=False),
    "record_host_taken": Failure(400, 81053, names_place=False),
    "record_cname_taken": Failure(400, 81054, names_place=False),
    "record_bad_name": Failure(400, 9000, points=True),
    "record_bad_type": Failure(400, 1004, chain=9003, points=True),
    "record_bad_address": Failure(400, 9005, points=True),
    "record_bad_content": Failure(400, 9007, points=True),
    "record_not_proxiable": Failure(400, 9004, points=True),
    "record_bad_ttl": Failure(400, 9021, points=True),
    "record_bad_comment": Failure(400, 1004, points=True),
    # ourselves
    "store_full": Failure(507, 10507, names_place=False),
    "store_unavailable": Failure(503, 10503, names_place=False),
}

CONFIGURATION = Failure(400, 1056, points=True, under="/config")
INTERNAL = Failure(500, 10500, names_place=False)


def failure_of(code: str) -> Failure:
    """How a code is told; the ingress validation's codes all are 1056; an unlisted one is our fault."""
    if code.startswith(("ingress_", "configuration_")):
        return CONFIGURATION
    return FAILURES.get(code, INTERNAL)
