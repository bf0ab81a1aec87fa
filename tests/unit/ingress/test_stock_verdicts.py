"""Which configurations are sound, and which rule takes a request: as the stock connector says, which the vectors record
(tests/interop/test_stock_ingress.py holds them to its binary). Where ours differs, they say why."""

import json
from pathlib import Path
from typing import Any

import pytest

from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.ingress.table import compile_table, explain

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "ingress.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_verdict_is_the_stock_connectors(vector: dict[str, Any]) -> None:
    ours = vector.get("ours", {})
    assert not ours or vector["why"]
    try:
        configuration = parse_configuration(vector["config"], form="yaml", misspelt_keys="told")
        compile_table(configuration)
    except QanatError as error:
        assert not ours.get("valid", vector["valid"]), error
        assert error.where or error.code.startswith("configuration_")
        return
    assert ours.get("valid", vector["valid"]), configuration.warnings
    matches = {url: explain(configuration, url).index for url in vector.get("matches", {})}
    assert matches == ours.get("matches", vector.get("matches", {}))
