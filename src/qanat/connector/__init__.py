"""The connector process: `qanat tunnel run`. Lean: standard library, msgspec, idna and the engine, nothing else."""
