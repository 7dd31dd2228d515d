"""`python -m service.scaleout`: several replicas on this machine. Needs the extra `scale`."""

from __future__ import annotations

import importlib.util
import logging.config
import os
import secrets
import signal
import socket
import sys
import threading

from pydantic import ValidationError

from service import logs, manifest
from service.access import KeyRing
from service.cpus import usable_cpus
from service.errors import StartupError, extra_hint
from service.scaleout.environment import environment
from service.scaleout.options import Scale, parsed
from service.scaleout.replicas import NAME, replicated
from service.settings import Settings, why_refused

_LOGGER = logging.getLogger("service.scaleout")
_REFUSED = 2
# Ray's least; the replicas put nothing into its object store.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
_LOOPBACK = "127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; 2 where the settings or the models are refused, or the extra is not installed."""
    try:
        scale, settings = parsed(arguments)
        _check(settings, scale)
    except ValidationError as error:
        return _refuse(why_refused(error))
    except (StartupError, OSError) as error:
        return _refuse(str(error))
    logging.config.dictConfig(logs.config(settings.log_format, settings.log_level))
    for name, value in environment(settings).items():
        os.environ.setdefault(name, value)
    if os.environ["RAY_AUTH_MODE"] == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    return _serve(settings, scale)


def _check(settings: Settings, scale: Scale) -> None:
    """Refuse in a sentence what Ray would wait for, or tell of in a long log."""
    if importlib.util.find_spec("ray") is None:
        raise StartupError(f"ray cannot be imported; {extra_hint('scale')}")
    wanted, usable = scale.most * scale.cpus, usable_cpus()
    if wanted > usable:
        raise StartupError(
            f"{scale.most} replicas of {scale.cpus:g} CPUs want {wanted:g}; allowed: the {usable} that may be used "
            "here (--cpus 0.5 lets two share one)"
        )
    if settings.port == 0:
        raise StartupError("port is 0; allowed: 1 to 65535")
    KeyRing.of(settings)
    manifest.read(settings.models_dir)
    # Raises where the address is taken.
    family = socket.AF_INET6 if ":" in str(settings.host) else socket.AF_INET
    socket.create_server((str(settings.host), settings.port), family=family).close()


def _serve(settings: Settings, scale: Scale) -> int:
    import ray  # noqa: PLC0415  # after the environment is set
    from ray import serve  # noqa: PLC0415

    application = replicated(settings, scale)
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=usable_cpus(),
        object_store_memory=_OBJECT_STORE_BYTES,
        _node_ip_address=_LOOPBACK,
    )
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        options = {"host": str(settings.host), "port": settings.port, "keep_alive_timeout_s": settings.keep_alive_s}
        serve.start(http_options=options)
        serve.run(application, name=NAME, route_prefix="/")
        _LOGGER.info("%d replicas running on http://%s:%d", scale.replicas, settings.host, settings.port)
        told.wait()
        serve.shutdown()  # type: ignore[no-untyped-call]
    except (RuntimeError, ray.exceptions.RayError) as error:
        return _refuse(f"Ray failed: {error}")
    finally:
        ray.shutdown()
    return 0


def _refuse(sentence: str) -> int:
    print(f"service.scaleout: {sentence}", file=sys.stderr)
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
