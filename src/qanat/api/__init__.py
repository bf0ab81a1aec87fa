"""The control API under `/client/v4`: stock clients' shapes (design/api.md), one module a resource, over the store."""

from qanat.api.app import create_app
from qanat.api.context import Context, FailedRequest, Live

__all__ = ["Context", "FailedRequest", "Live", "create_app"]
