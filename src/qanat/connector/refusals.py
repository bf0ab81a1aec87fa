"""Why an edge refused a registration, in plain words: what it said, and what to do."""

DUPLICATE = "EDUPCONN"

_FIXES = (
    (
        ("secret", "token"),
        "the tunnel's secret was changed, or the token is of another edge: fetch the token anew and restart",
    ),
    (
        ("not found", "deleted", "no such tunnel", "unknown tunnel"),
        "the tunnel is gone: create it again, and use its token",
    ),
    (("too many", "rate", "limit"), "wait: the connector tries again by itself"),
    (("unauthorized",), "the edge doesn't know this tunnel by this token: see that both are of the same edge"),
)


def explained(cause: str) -> tuple[str, dict[str, str]]:
    """The log line, as stock's, and its fields."""
    if cause == DUPLICATE:
        return "Unable to establish connection.", {
            "error": "already connected to this server, trying another address",
            "fix": "nothing to do where the edge has one address; it replaces the older connection",
        }
    said = cause.lower()
    fix = next((fix for words, fix in _FIXES if any(word in said for word in words)), None)
    return "Register tunnel error from server side", {"error": cause, **({"fix": fix} if fix else {})}
