"""Pictures that are made here, as places and lines; templates write them as SVG."""
