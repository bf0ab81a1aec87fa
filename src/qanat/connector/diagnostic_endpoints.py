"""The paths of diagnostics: what they tell is made, and loaded, when somebody asks."""

from collections.abc import Callable, Mapping

import msgspec

from qanat.connector.endpoints import Answer, Endpoints, json, profile, text


def diagnostic_endpoints(
    *,
    settings: Mapping[str, str],
    version: str,
    tunnel_id: str,
    connector_id: str,
    connections: Callable[[], Mapping[int, tuple[str, str]]],
    counters: Callable[[], Mapping[str, int]],
) -> Endpoints:
    """By path.

    Args:
        connections: protocol and edge address of each connection that is registered, by index.
    """

    def tunnel() -> Answer:
        from qanat.connector.diagnostics import connection

        up = [connection(index, *told) for index, told in sorted(connections().items())]
        state = {"tunnelID": tunnel_id, "connectorID": connector_id, "connections": up, "icmp_sources": []}
        return json(msgspec.json.encode({name: value for name, value in state.items() if value}) + b"\n")

    def configuration() -> Answer:
        from qanat.connector.diagnostics import configuration

        return json(msgspec.json.encode(configuration(settings)) + b"\n")

    def system() -> Answer:
        from qanat.connector.diagnostics import system

        return json(msgspec.json.encode(system(version)) + b"\n")

    def index() -> Answer:
        from qanat.connector.diagnostics import INDEX

        return text(INDEX)

    def goroutine() -> Answer:
        from qanat.connector.diagnostics import threads

        return profile(threads())

    def heap() -> Answer:
        from qanat.connector.diagnostics import memory

        return profile(memory(counters()))

    return {
        "/diag/tunnel": tunnel,
        "/diag/configuration": configuration,
        "/diag/system": system,
        "/debug/pprof/": index,
        "/debug/pprof/goroutine": goroutine,
        "/debug/pprof/heap": heap,
    }
