"""The least configuration with which Envoy balances engines by their load."""

from typing import Any

_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def listener(port: int) -> dict[str, Any]:
    """Passes everything on `port` to the cluster `engines`, streams of any length among it."""
    to_engines = {"cluster": "engines", "timeout": "0s"}
    routes = [{"match": {"prefix": "/"}, "route": to_engines}]
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "address": _address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def cluster(engines: list[str]) -> dict[str, Any]:
    """The engines (host:port), the least loaded first, with room for every connection."""
    most = {"max_connections": 10000, "max_requests": 10000, "max_pending_requests": 10000}
    places = []
    for engine in engines:
        host, _, port = engine.rpartition(":")
        places.append({"endpoint": {"address": _address(host, int(port))}})
    return {
        "name": "engines",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "engines", "endpoints": [{"lb_endpoints": places}]},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
