"""The pages, one module a thing that one looks at."""

from qanat.dashboard.pages import (
    audit,
    certificates,
    configuration,
    cutovers,
    hostname,
    login,
    me,
    nodes,
    overview,
    people,
    plots,
    start,
    tokens,
    tunnel,
)

PAGES = (
    overview.pages,
    plots.pages,
    tunnel.pages,
    configuration.pages,
    nodes.pages,
    hostname.pages,
    cutovers.pages,
    certificates.pages,
    start.pages,
    tokens.pages,
    people.pages,
    audit.pages,
    me.pages,
    login.pages,
)
