"""The pages, one module a thing that one looks at."""

from qanat.dashboard.pages import overview, plots

PAGES = (overview.pages, plots.pages)
