"""What Ray's processes must find in their environment, so that they do what the settings say.

`python -m service.scaleout.environment` prints it for `ray start` on the nodes of a cluster.
"""

from __future__ import annotations

import math
import shlex
import sys

from pydantic import ValidationError

from service.settings import Settings, why_refused

MIDDLEWARES = "service.scaleout.answers:middlewares"
# An attack may wait for another one before it begins.
_WAIT_S = 180
_REFUSED = 2


def environment(settings: Settings) -> dict[str, str]:
    """Variables for every node; Ray reads them when it is imported. The token of a cluster is not among them."""
    return {
        # Else Ray reports to its makers.
        "RAY_USAGE_STATS_ENABLED": "0",
        # Several of Ray's ports are open to all addresses; behind a token they obey nobody else.
        "RAY_AUTH_MODE": "token",
        # Else what serves gives way to whatever else runs.
        "RAY_worker_niceness": "0",
        # A busy machine takes longer than Ray would wait for a node and a proxy.
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # HAProxy in front of the replicas, in place of a proxy in Python.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # The same question has the same answer, so that what a dead replica left open is asked again elsewhere.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # Between two reads of a head or body.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(math.ceil(settings.header_timeout_s)),
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(math.ceil(settings.attack_timeout_s) + _WAIT_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{settings.drain_s:g}",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": MIDDLEWARES,
        # HAProxy passes on what clients claim to be forwarded for, so nobody is believed unless somebody says so.
        "FORWARDED_ALLOW_IPS": "",
    }


def main() -> int:
    """Print a line of shell for each variable; 2 where the settings are refused."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"service.scaleout.environment: {why_refused(error)}", file=sys.stderr)
        return _REFUSED
    for name, value in environment(settings).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
