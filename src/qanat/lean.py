"""Loading a library without another that it only takes along where that is installed."""

import sys
from importlib import import_module


def load_without(name: str, unwanted: str) -> None:
    """Imports `name` as if `unwanted` weren't installed, unless either is loaded already."""
    if name in sys.modules or unwanted in sys.modules:
        return
    sys.modules[unwanted] = None  # type: ignore[assignment] # what must not be imported (importlib's convention)
    try:
        import_module(name)
    finally:
        del sys.modules[unwanted]
