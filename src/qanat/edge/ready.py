"""What is said when an edge serves: to a person, or to a program; at its first start what to type first."""

import json
import os
import sys
from typing import Literal

from qanat.edge import engine
from qanat.edge.data_dir import DataDir, State

Output = Literal["text", "json"]


def say_ready(
    data_dir: DataDir,
    state: State,
    addresses: engine.EdgeAddresses,
    api: str,
    public_api: str | None,
    *,
    has_ca: bool,
    output: Output,
) -> None:
    facts = {
        "event": "ready",
        "https": addresses.https,
        "http": addresses.http,
        "tunnel": addresses.tunnel,
        "api": api,
        "public_api": public_api,
        "ca": str(data_dir.ca) if has_ca else None,
        "data_dir": str(data_dir.path),
        "token_file": str(data_dir.token_file) if data_dir.token_file.exists() else None,
        "setup_file": str(data_dir.setup_file) if data_dir.setup_file.exists() else None,
        "first_start": state.first_token is not None,
        "pid": os.getpid(),
    }
    if output == "json":
        print(json.dumps(facts), flush=True)
        return
    if state.first_token is not None:
        # only to a person: what a service prints is kept by journald, for whoever may read logs
        shown = f"{state.first_token} (shown this once)" if sys.stdout.isatty() else "not shown here"
        print(f"API token: {shown}; it is in {data_dir.token_file}")
    if state.setup_token is not None:
        shown = f"{state.setup_token} (good once, for a day)" if sys.stdout.isatty() else "not shown here"
        print(f"one-time token: {shown}; it is in {data_dir.setup_file}")
    print("qanat edge is ready")
    for label, value in (
        ("https", addresses.https and f"https://{addresses.https}"),
        ("http", addresses.http and f"http://{addresses.http}"),
        ("tunnel", f"{addresses.tunnel} (UDP and TCP)"),
        ("API", f"{api} (from this machine)" if public_api else api),
        ("API", public_api and f"{public_api} (from anywhere)"),
        ("CA", facts["ca"]),
        ("data", data_dir.path),
    ):
        if value:
            print(f"  {label:<7} {value}")
    if state.first_token is not None:
        for line in first_steps(data_dir, api, public_api, has_ca=has_ca):
            print(line)
    sys.stdout.flush()


def first_steps(data_dir: DataDir, api: str, public_api: str | None, *, has_ca: bool) -> list[str]:
    """What to type first: here, and on another machine."""
    lines = [
        "to begin, on this machine:",
        f"  {api.removesuffix('/client/v4')}/enter   in a browser, with the one-time token",
        f"  export QANAT_API={api} QANAT_API_TOKEN_FILE={data_dir.token_file}",
        "  qanat zone create example.com",
    ]
    if public_api is None:
        return [*lines, "for other machines: give the edge a name for its API, `--control-hostname api.example.com`"]
    trust = ", once it trusts the development CA" if has_ca else ""
    return [
        *lines,
        f"on another machine{trust}, with a token of `qanat token create`:",
        f"  qanat login --api {public_api}",
        f"  export CLOUDFLARE_BASE_URL={public_api}   # Terraform, SDKs",
    ]
