"""The API's routes, in one flat list: how a resource's are made, and how one is found, once a request."""

from collections.abc import Callable, Collection, Iterable
from threading import RLock
from typing import Any, ClassVar, NamedTuple, get_args, get_origin

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, Route, compile_path, get_name
from starlette.types import Receive, Scope, Send

from qanat.api.http.context import checked, declared_needs
from qanat.api.http.description import operation_id
from qanat.api.http.endpoint import USUAL, Takes, taken
from qanat.api.http.envelope import Ok, OkPage
from qanat.api.http.pagination import is_long, takes_page
from qanat.api.http.shapes import FAILS, answers, page_answers
from qanat.defaults import API_PATH
from qanat.store.reach import Permission

PREFIX = API_PATH
_FOUND = "qanat.found"


class _LateRoute(APIRoute):
    """FastAPI's, which reads an endpoint's signature and makes models of it, at the first request for it or when it is described:
    for all endpoints that takes as long as a start can wait, and most are asked for seldom. What finds a route is there at once.

    What the endpoint answers is read of its annotation, so that mypy checks what is described."""

    _reading: ClassVar = RLock()
    _options: dict[str, Any] | None = None

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: Collection[str], **options: Any) -> None:
        self._options = {"methods": methods, **options}
        self.path, self.endpoint, self.methods = path, endpoint, set(methods)
        self.name, self.tags = get_name(endpoint), options["tags"]
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def __getattr__(self, name: str) -> Any:
        """Of what is not there yet."""
        with self._reading:
            if self._options is not None:
                options, self._options = self._options, None
                answered = self.endpoint.__annotations__["return"]
                kind: object = get_origin(answered)
                for each, described in ((Ok, answers), (OkPage, page_answers)):
                    if kind is each:
                        responses = {**options["responses"], **described(*get_args(answered))}
                        options.update(responses=responses, response_model=None)
                super().__init__(self.path, self.endpoint, **options)
        return object.__getattribute__(self, name)


def resource(*, prefix: str = "", below: str = PREFIX, tags: Iterable[str] = ()) -> APIRouter:
    """The router of one resource, below `prefix`. `below`: what all endpoints have in front."""
    return APIRouter(
        prefix=below + prefix,
        route_class=_LateRoute,
        tags=list(tags),
        responses=FAILS,
        dependencies=[Depends(checked)],
        generate_unique_id_function=operation_id,
    )


class Found(NamedTuple):
    """The route of a request, and what the router would note in its scope."""

    route: Route
    noted: Scope

    @property
    def needs(self) -> frozenset[Permission] | None:
        """As its endpoint declares it; the description, which is FastAPI's own, takes any good token."""
        return declared_needs(self.route.endpoint) if isinstance(self.route, APIRoute) else frozenset()

    @property
    def takes(self) -> Takes:
        """As its endpoint declares it."""
        return taken(self.route.endpoint) if isinstance(self.route, APIRoute) else USUAL

    def is_long_page(self, scope: Scope) -> bool:
        """Whether it is a list, and so many of its rows are asked for that it takes long."""
        query: bytes = scope.get("query_string", b"")
        return bool(query) and isinstance(self.route, APIRoute) and takes_page(self.route) and is_long(query)


class Routes:
    """All routes of an application, in their order."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        # the router asks each route in turn, which takes five times as long as its expression alone
        self._routes = [(route.path_regex.match, route) for route in routes if isinstance(route, Route)]

    def find(self, scope: Scope) -> Found | None:
        """The route that takes a request, by the router's own matching; None: there is none, or not for this method."""
        path = scope["path"]
        for may_match, route in self._routes:
            if may_match(path):
                match, noted = route.matches(scope)
                if match is Match.FULL:
                    return Found(route, noted)
        return None


def handed_over(scope: Scope, found: Found | None) -> Scope:
    """The scope for the application, whose router needn't look again."""
    return {**scope, _FOUND: found}


class Handover(BaseRoute):
    """The first of the application's routes: takes what was found already."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `Routes.find` found it."""
        found: Found | None = scope.get(_FOUND)
        return (Match.NONE, {}) if found is None else (Match.FULL, found.noted)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the route that was found."""
        found: Found = scope[_FOUND]
        await found.route.handle(scope, receive, send)
