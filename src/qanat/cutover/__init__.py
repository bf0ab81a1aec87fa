"""Moving public hostnames from one tunnel to another: checked before, watched while it happens, and undone when it goes wrong.

What is decided here is pure (`plan`, `answers`, `gates`, `rule`, `machine`); `cutovers` and `records` are what of it is kept and
written, `course` is one cutover under way on our own edge, and `hosted` the same against any v4 API."""
