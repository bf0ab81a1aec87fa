"""The pages, one module a thing that one looks at."""

from qanat.dashboard.pages import configuration, hostname, overview, plots, tunnel

PAGES = (overview.pages, plots.pages, tunnel.pages, configuration.pages, hostname.pages)
