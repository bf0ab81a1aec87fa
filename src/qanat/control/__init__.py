"""What qanat can do: one module for each capability, used by the API, the operator's commands and the edge's chores.

A function that changes something takes the write that its caller opened, and opens none: several happen together or
not at all."""
