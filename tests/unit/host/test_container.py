"""The recipes of the images (deploy/oci): what they tell an edge is what it takes, and its commands find its token."""

import re
from pathlib import Path

import pytest

from qanat.edge.data_dir import DataDir
from qanat.settings import EdgeSettings

OCI = Path(__file__).parents[3] / "deploy/oci"
USER = "65532"


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (OCI / name).read_text(), flags=re.MULTILINE))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def variables(name: str) -> dict[str, str]:
    pairs = [each.split("=", 1) for word, rest in instructions(name) if word == "ENV" for each in rest.split()]
    return dict(pairs)


def test_an_edges_image_has_its_data_on_the_volume_and_its_commands_their_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = variables("Containerfile.edge")
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = EdgeSettings()
    assert ("VOLUME", str(settings.data_dir)) in instructions("Containerfile.edge")
    assert given["QANAT_API_TOKEN_FILE"] == str(DataDir(settings.data_dir).token_file)
    of_the_edge = {f"QANAT_{name.upper()}" for name in EdgeSettings.model_fields}
    assert {key.partition("__")[0] for key in given} - of_the_edge == {"QANAT_API_TOKEN_FILE"}


def test_an_edges_image_exposes_the_ports_that_it_listens_on() -> None:
    settings = EdgeSettings()
    addresses = [settings.public.https, settings.public.http, settings.tunnel.address]
    exposed = next(rest for word, rest in instructions("Containerfile.edge") if word == "EXPOSE").split()
    assert {each.partition("/")[0] for each in exposed} == {str(address).rpartition(":")[2] for address in addresses}


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.edge"])
def test_no_image_runs_as_root(name: str) -> None:
    assert [rest for word, rest in instructions(name) if word == "USER"] == [f"{USER}:{USER}"]
