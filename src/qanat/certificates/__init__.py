"""Public certificates: uploaded ones, and those that CAs issue by ACME (RFC 8555) for hostnames that have a record.

Rows and rules are here; the worker that orders them is `qanat.edge.issuer`, since it needs the edge to answer CAs.
"""
