"""schemathesis over the API's own description: no 5xx, no answer outside of its schema, nothing without credentials.

The same requests every time, within a minute; `QANAT_TEST_LONG=1` makes more, and others, for as long as one likes.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from qanat.api.http.description import operations_of
from qanat.auth.tokens import make_token
from tests.support.control import Control, check_failure, running_control
from tests.support.fuzz import LONG, World, description

pytestmark = pytest.mark.requirement("S34")

# Of the others `ignored_auth` wants no 400 for missing credentials, as api.md 0.3 has it, and is done by hand below;
# `negative_data_rejection` no clamped pages (0.5); `positive_data_acceptance` no rule that a schema can't tell.
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
CALM = settings(
    max_examples=int(os.environ.get("QANAT_TEST_EXAMPLES", "300")) if LONG else 3,
    derandomize=not LONG,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
PARTS = 16
"""Of the endpoints, so that their tests share the cores."""


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with running_control(folder) as running:
        yield running


@pytest.fixture(scope="module")
def world(control: Control) -> World:
    return World(control)


@pytest.fixture(scope="module")
def session(control: Control) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        opened.headers["authorization"] = f"Bearer {control.token}"
        yield opened


@pytest.mark.parametrize("part", range(PARTS))
def test_every_answer_is_as_described(
    part: int, control: Control, world: World, session: requests.Session, subtests: pytest.Subtests
) -> None:
    # Not by `schema.parametrize`, which makes every example of every endpoint when the tests are collected, in each process.
    schema = schemathesis.openapi.from_dict(description()).include(
        lambda endpoint: crc32(endpoint.operation.label.encode()) % PARTS == part
    )
    for found in get_all_tests(schema=schema, test_func=check_answer, settings=CALM, given_kwargs=None):
        assert isinstance(found, Ok), found
        endpoint, check = found.ok()
        with subtests.test(endpoint.label):
            check(control=control, world=world, session=session)


def check_answer(case: Case[Any], control: Control, world: World, session: requests.Session) -> None:
    if case.path_parameters:
        case.path_parameters = world.real(dict(case.path_parameters))
    answer = case.call(base_url=control.url, session=session)
    world.in_doubt = world.in_doubt or (case.method == "DELETE" and answer.status_code == 200)
    case.validate_response(answer, checks=CHECKS)
    body = answer.json() if answer.headers.get("content-type") == ["application/json"] else None
    if body is not None:
        assert body["success"] is (answer.status_code == 200)
        assert all(type(error["code"]) is int for error in body["errors"])


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer"}, {"x-auth-email": "a@b.test"}, {"cookie": "a=b"}])
def test_nothing_succeeds_without_credentials(control: Control, world: World, headers: dict[str, str]) -> None:
    assert_refused(control, world, headers)


def test_nothing_succeeds_with_wrong_credentials(control: Control, world: World) -> None:
    assert_refused(control, world, {"authorization": f"Bearer {make_token()}"})
    assert_refused(control, world, {"x-auth-email": "a@b.test", "x-auth-key": "0" * 37})


def assert_refused(control: Control, world: World, headers: dict[str, str]) -> None:
    """Every endpoint with the body of its own example."""
    for path, method, operation in operations_of(description()):
        ids = world.ensure()
        filled = re.sub(r"\{(\w+)\}", lambda found, ids=ids: ids.get(found[1], "0" * 32), path)  # type: ignore[misc]
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        answer = httpx.request(method, control.url + filled, headers=headers, json=content.get("example"), verify=False)
        assert answer.status_code in (400, 401, 403, 429) or operation.get("security") == [], (method, path)
        check_failure(answer)
