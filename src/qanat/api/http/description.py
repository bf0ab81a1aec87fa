"""The OpenAPI description: FastAPI's own, told as clients meet it. It can't drift, since it is made from the routes."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from qanat.api.http.context import declared_needs

Json = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "patch")
MOMENT = "2026-01-02T03:04:05.678901Z"
HEX_ID = "023e105f4ecef8ad9ca31a8372d0c353"
UUID = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"

TAGS = {
    "user": "Who the token of the request acts for.",
    "tokens": "API tokens of users and accounts: policies, expiry, bounds on addresses, last use.",
    "accounts": "What owns tunnels and zones, and who may act for it.",
    "memberships": "The user's accounts.",
    "zones": "DNS zones.",
    "dns_records": "The records of a zone. A proxied CNAME to `<tunnel id>.cfargotunnel.com` publishes a hostname.",
    "cfd_tunnel": "Tunnels, their connector tokens, connectors and connections.",
    "configurations": "What a tunnel's connectors serve: ingress rules, versioned.",
    "routes": "What `cloudflared tunnel route dns` calls.",
    "teamnet": "Private routes and virtual networks: kept and listed as stock; their traffic is not carried yet.",
    "quick tunnels": "Tunnels without an account, where they are switched on.",
    "qanat": "What the stock API has no place for.",
}

PATH_PARAMETERS = {
    "account_id": ("The account, 32 hexadecimal digits.", HEX_ID),
    "zone_id": ("The zone, 32 hexadecimal digits.", HEX_ID),
    "record_id": ("The record, 32 hexadecimal digits.", HEX_ID),
    "token_id": ("The API token, 32 hexadecimal digits.", HEX_ID),
    "user_id": ("The user, 32 hexadecimal digits.", HEX_ID),
    "tunnel_id": ("The tunnel, a UUID.", UUID),
    "connector_id": ("The connector, a UUID.", UUID),
    "connector_token_id": ("The connector token, a UUID.", UUID),
    "node": (
        "The node: its name, its connector token's id, or `default` for the tunnel's own.",
        "web-1",
    ),
    "promotion_id": ("The promotion, a UUID.", UUID),
    "cutover_id": ("The cutover, 32 hexadecimal digits.", HEX_ID),
    "certificate_id": ("The certificate, or its order while there is none yet; a UUID.", UUID),
    "alert_rule_id": ("The alert rule, 32 hexadecimal digits.", HEX_ID),
    "alert_channel_id": ("The channel of alerts, 32 hexadecimal digits.", HEX_ID),
    "route_id": ("The route, a UUID.", UUID),
    "virtual_network_id": ("The virtual network, a UUID.", UUID),
    "network": ("The network, a CIDR.", "10.20.0.0/16"),
    "setting": ("The setting.", "min_tls_version"),
    "kind": ("The kind of error page.", "1000_errors"),
    "hostname": ("A public hostname.", "app.example.com"),
    "target": ("A public hostname, or a tunnel's id.", "app.example.com"),
    "member_id": ("The member, 32 hexadecimal digits.", HEX_ID),
    "role": ("The role, 32 hexadecimal digits.", HEX_ID),
    "membership_id": ("The membership, 32 hexadecimal digits.", HEX_ID),
    "ip": ("An IPv4 or IPv6 address.", "10.20.0.7"),
    "version": ("The version, a whole number.", "3"),
    "resource": ("`logs`, `admin` or `host_details`.", "logs"),
    "request_id": ("The id that an error page shows, and that `cf-ray` carries.", "8f2c1d4e5a6b7c80-fra01"),
}

SECURITY_SCHEMES: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API token."},
    "email": {"type": "apiKey", "in": "header", "name": "X-Auth-Email", "description": "With the global key."},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Auth-Key",
        "description": "The user's global key, where the edge's settings allow it. A token beside it wins.",
    },
}
SECURITY: list[Json] = [{"token": []}, {"email": [], "key": []}]


def operation_id(route: APIRoute) -> str:
    """`<tag>_<function>`, such as `zones_list_zones`: generated clients name their methods by it."""
    return "_".join([*(str(tag).replace(" ", "_") for tag in route.tags[:1]), route.name])


def describe(app: FastAPI, prefix: str, routes: Iterable[APIRoute]) -> Json:
    """OpenAPI 3.1 of `app`, whose `routes` lie under `prefix`."""
    needs = {operation_id(route): declared_needs(route.endpoint) for route in routes}
    described = get_openapi(
        title="qanat",
        version=app.version,
        summary="The control plane of a self-hosted tunnel system, by the stock v4 API.",
        description=(
            "What a stock client does against api.cloudflare.com for tunnels, zones, DNS and tokens, it does against qanat "
            "by changing the base URL only. Every answer is an envelope: `success`, `errors`, `messages`, `result`. "
            "Unknown fields and query parameters are ignored; an endpoint that qanat does not have answers 404 with code 7000."
        ),
        routes=app.routes,
    )
    described["servers"] = [{"url": prefix, "description": "Relative to where this description was found."}]
    described["security"] = SECURITY
    components = described.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    schemas: Json = components.get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    described["paths"] = {path.removeprefix(prefix): operations for path, operations in described["paths"].items()}
    used: set[str] = set()
    for path, method, operation in operations_of(described):
        operation["responses"].pop("422", None)  # told by `default`, in the envelope
        used.update(operation.get("tags", ()))
        _tell_needs(operation, needs[operation["operationId"]])
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path" and parameter["name"] in PATH_PARAMETERS:
                parameter["description"], parameter["example"] = PATH_PARAMETERS[parameter["name"]]
        if path.endswith("/") or method not in METHODS:
            raise AssertionError(f"{method} {path} is not an endpoint of the v4 kind")
        _drop_undescribed_json(operation)
        for content in _contents(operation):
            if "example" not in content and "examples" not in content:
                content["example"] = example_of(content.get("schema", {}), schemas)
    _link(described["paths"])
    described["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    return described


def operations_of(described: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, method in lower case and operation of every endpoint."""
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """An example made of the fields' own examples."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for key in ("example", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if schema.get("default") is not None:
        return schema["default"]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = [each for each in schema[key] if each.get("type") != "null"]
            plain = all(each.get("type") in ("string", "integer", "number", "boolean") for each in kinds)
            told = any(each.keys() & {"examples", "example", "enum", "const"} for each in kinds)
            return None if plain and not told and len(kinds) < len(schema[key]) else example_of(kinds[0], schemas)
    if "allOf" in schema:
        merged: Json = {}
        for part in schema["allOf"]:
            merged.update(example_of(part, schemas))
        return merged
    return _plain_example(schema, schemas)


def _plain_example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    match schema.get("type"):
        case "object":
            required = schema.get("required", ())
            found = {name: example_of(each, schemas) for name, each in schema.get("properties", {}).items()}
            return {name: value for name, value in found.items() if value is not None or name in required}
        case "array":
            return [example_of(schema["items"], schemas)] if schema.get("items") else []
        case "string":
            return {"date-time": MOMENT, "uuid": UUID}.get(schema.get("format", ""), "string")
        case "integer" | "number":
            return 1
        case "boolean":
            return False
    return None


def _link(paths: Json) -> None:
    """Tells that the `id` of what a POST made is the path parameter of the endpoints below it."""
    for path, operations in paths.items():
        one = next((each for each in paths if re.fullmatch(re.escape(path) + r"/\{\w+\}", each)), None)
        if "post" not in operations or one is None or "get" not in paths[one]:
            continue
        names = re.findall(r"\{(\w+)\}", one)
        values = [f"$request.path.{name}" for name in names[:-1]] + ["$response.body#/result/id"]
        operations["post"]["responses"]["200"]["links"] = {
            other["operationId"]: {
                "operationId": other["operationId"],
                "parameters": dict(zip(names, values, strict=True)),
            }
            for below, others in paths.items()
            if below.startswith(one) and re.findall(r"\{(\w+)\}", below) == names
            for other in others.values()
        }


def _tell_needs(operation: Json, permissions: frozenset[str] | None) -> None:
    if permissions is None:
        operation["security"] = []
        told = "Takes no credentials."
    elif permissions:
        told = "Needs " + " and ".join(f"`{each}`" for each in sorted(permissions)) + "."
    else:
        told = "Needs no more than a good token."
    operation["description"] = f"{operation.get('description', '')}\n\n{told}".strip()


def _drop_undescribed_json(operation: Json) -> None:
    """FastAPI puts an empty JSON answer beside a text that is described."""
    content: Json = operation["responses"].get("200", {}).get("content", {})
    if len(content) > 1 and not content.get("application/json", {}).get("schema", True):
        del content["application/json"]


def _contents(operation: Json) -> Iterator[Json]:
    for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
        for kind, content in holder.get("content", {}).items():
            if kind == "application/json":
                yield content
