"""qanat's own resources, under `/qanat`."""
