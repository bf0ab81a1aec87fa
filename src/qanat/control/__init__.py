"""What qanat can do: one module for each capability, used by the API, the operator's commands and the edge's chores."""
