"""qanat: a self-hosted tunnel system that speaks the protocols its users already have."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """`qanat.__version__`, which the engine carries: the one place is Cargo.toml."""
    if name == "__version__":
        from qanat._engine import __version__

        return __version__
    raise AttributeError(f"module 'qanat' has no attribute {name!r}")
