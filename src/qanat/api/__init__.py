"""The control API under `/client/v4`: stock clients' shapes (design/api.md), one module a resource, over the store. The
application is in `qanat.api.app`: whoever has only to do with the running edge needs none of it."""

from qanat.api.engine import RequestFailed
from qanat.api.http.live import Live

__all__ = ["Live", "RequestFailed"]
