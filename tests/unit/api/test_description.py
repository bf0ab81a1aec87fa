"""The OpenAPI description: valid, complete, and no more and no less than what the endpoints read."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import validate
from starlette.datastructures import QueryParams
from starlette.requests import Request

from qanat.api.http.description import METHODS, TAGS, operations_of
from tests.support.control import Control, running_control
from tests.support.fuzz import World

Json = dict[str, Any]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("described")) as running:
        yield running


@pytest.fixture(scope="module")
def described(control: Control) -> Json:
    answer = control.http.get("/qanat/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: Json = answer.json()
    return found


def test_it_is_openapi(described: Json) -> None:
    validate(described)
    assert described["openapi"].startswith("3.1")
    assert described["servers"][0]["url"] == "/client/v4"
    assert set(described["components"]["securitySchemes"]) == {"token", "email", "key"}
    assert all(not path.startswith("/client") for path in described["paths"])


def test_nothing_answers_as_fastapi_would(described: Json) -> None:
    assert "ValidationError" not in json.dumps(described)
    for path, method, operation in operations_of(described):
        assert method in METHODS
        assert set(operation["responses"]) == {"200", "default"}, f"{method} {path}: annotate it: -> Ok[…]"


def test_every_answer_is_an_envelope(described: Json) -> None:
    schemas = described["components"]["schemas"]
    for path, method, operation in operations_of(described):
        content = operation["responses"]["200"]["content"].get("application/json")
        if content is None:
            continue  # a text, such as a zone file
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        assert {"success", "errors", "messages", "result"} <= set(schema["required"]), f"{method} {path}"
        has_pages = any(parameter["name"] == "per_page" for parameter in operation.get("parameters", ()))
        assert has_pages == ("result_info" in schema["properties"]), f"{method} {path}: pages, and OkPage[…]"


def test_everything_is_told_in_words(described: Json) -> None:
    assert {tag["name"] for tag in described["tags"]} <= set(TAGS)
    for path, method, operation in operations_of(described):
        assert operation["tags"][0] in TAGS, f"{method} {path}"
        first, _, needs = operation["description"].rpartition("\n\n")
        assert first and needs, f"{method} {path} has no docstring"
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{method} {path}: {parameter['name']}"
    ids = [operation["operationId"] for _, _, operation in operations_of(described)]
    assert len(ids) == len(set(ids))


def test_every_example_is_of_its_schema(described: Json) -> None:
    for path, method, operation in operations_of(described):
        for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
            for kind, content in holder.get("content", {}).items():
                if kind not in ("application/json", "text/plain"):
                    continue  # a file, which has no example here
                schema = {**content["schema"], "components": described["components"]}
                examples = [content["example"]] if "example" in content else []
                examples += [each["value"] for each in content.get("examples", {}).values()]
                assert examples, f"{method} {path}"
                for example in examples:
                    told = [error.message for error in Draft202012Validator(schema).iter_errors(example)]
                    assert not told, f"{method} {path}: {told}"


def test_no_text_or_number_is_without_its_example(described: Json) -> None:
    missing = []
    for name, schema in described["components"]["schemas"].items():
        if "examples" in schema:
            continue  # it has one as a whole
        for field, told in schema.get("properties", {}).items():
            if _is_bare(told):
                missing.append(f"{name}.{field}")
    assert not missing, missing


def _is_bare(schema: Json) -> bool:
    known = schema.keys() & {"examples", "example", "const", "enum", "default", "format"}
    return not known and schema.get("type") in ("string", "integer", "number")


class Recorded(QueryParams):
    """Remembers what was asked of it."""

    asked: set[str]

    def _note(self, key: str) -> None:
        self.__dict__.setdefault("asked", set()).add(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def getlist(self, key: str) -> list[str]:
        self._note(key)
        return super().getlist(key)

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> str:
        self._note(key)
        return super().__getitem__(key)


def test_what_is_read_of_a_query_is_what_is_described(
    control: Control, described: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Recorded] = []

    def query_params(request: Request) -> Recorded:
        if not hasattr(request, "_recorded"):
            request._recorded = Recorded(request.scope["query_string"])  # type: ignore[attr-defined]
            seen.append(request._recorded)  # type: ignore[attr-defined]
        recorded: Recorded = request._recorded  # type: ignore[attr-defined]
        return recorded

    monkeypatch.setattr(Request, "query_params", property(query_params))
    world = World(control)
    wrong = []
    # what deletes comes last
    for path, method, operation in sorted(operations_of(described), key=lambda each: each[1] == "delete"):
        names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        ids = {**world.ensure(), "ip": "10.0.0.1"}
        filled = re.sub(r"\{(\w+)\}", lambda found, ids=ids: ids.get(found[1], "0" * 32), path)  # type: ignore[misc]
        read: set[str] = set()
        queries = [{}, dict.fromkeys(names, "1"), dict.fromkeys(names, "2026-01-02T03:04:05Z")]
        for values in (*queries, *({name: "1"} for name in sorted(names))):
            if method == "get" and read == names:
                break
            seen.clear()
            body: Json | None = None if method in ("get", "delete") else {}
            answer = control.http.request(method.upper(), filled, params=values, json=body)
            assert answer.status_code < 500, answer.text
            world.in_doubt = method != "get"
            for recorded in seen:
                read |= recorded.__dict__.get("asked", set())
        if not read <= names:
            wrong.append(f"{method} {path} reads {read - names}, which is not described")
        if method == "get" and read != names:
            wrong.append(f"{method} {path} describes {names - read}, which it does not read")
    assert not wrong, wrong
