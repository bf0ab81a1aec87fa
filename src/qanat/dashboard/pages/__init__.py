"""The pages, one module a thing that one looks at."""

from qanat.dashboard.pages import audit, configuration, hostname, me, overview, people, plots, tokens, tunnel

PAGES = (
    overview.pages,
    plots.pages,
    tunnel.pages,
    configuration.pages,
    hostname.pages,
    tokens.pages,
    people.pages,
    audit.pages,
    me.pages,
)
