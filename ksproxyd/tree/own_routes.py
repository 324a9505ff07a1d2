"""The gateway's own routes, as its OpenAPI documents describe them."""

from __future__ import annotations

from ksproxyd.tree.openapi import Route

_TAG = "Gateway"

ROUTES = (
    Route("GET", "/healthz", "Whether the gateway works", _TAG),
    Route("GET", "/livez", "Whether the gateway is alive", _TAG),
    Route("GET", "/readyz", "Whether the gateway can serve, check by check", _TAG),
    Route("GET", "/metrics", "Metrics in Prometheus' text format", _TAG),
    Route("GET", "/version", "Versions of the gateway and of the Kubernetes API behind it", _TAG),
    Route("GET", "/kapis/version", "The same as /version", _TAG),
    Route("GET", "/openapi/v2", "This document as Swagger 2.0", _TAG),
    Route("GET", "/openapi/v3", "This document as OpenAPI 3.0", _TAG),
    Route("GET", "/ksproxyd/routes", "What is mounted in the gateway's resource tree", _TAG),
)
