"""`qanat service …`: one module a command."""
