"""Stylesheets, scripts and pictures: read once, named by their content, so that browsers may keep them for ever."""

import gzip
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"


class Asset:
    """One file. `url`: where it is, with what its content is."""

    def __init__(self, name: str, content: bytes) -> None:
        self.content = content
        self.packed = gzip.compress(content, mtime=0)
        self.type = TYPES[name.rpartition(".")[2]]
        self.tag = sha256(content).hexdigest()[:16]
        self.url = f"/static/{self.tag}/{name}"


@cache
def assets() -> dict[str, Asset]:
    """By name."""
    folder = files("qanat.dashboard") / "static"
    found = [each for each in folder.iterdir() if each.is_file() and each.name.rpartition(".")[2] in TYPES]
    return {each.name: Asset(each.name, each.read_bytes()) for each in found}


def url_of(name: str) -> str:
    """For templates."""
    return assets()[name].url


async def serve(request: Request) -> Response:
    """An asset by its name; under another hash than its own it is not there, so that no old page gets new files."""
    asset = assets().get(request.path_params["name"])
    if asset is None or asset.tag != request.path_params["tag"]:
        return Response("no such file", status_code=404, media_type="text/plain")
    headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.type, headers={**headers, "content-encoding": "gzip"})
    return Response(asset.content, media_type=asset.type, headers=headers)
