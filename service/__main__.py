"""`python -m service`: start the server. The command line goes before the environment (PURIFIER_...)."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
import sys
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import Any

import uvicorn
from pydantic import ValidationError

from service import logs, selfcheck
from service.app import create_app
from service.catalog import Catalog
from service.deadlines import protocol_with
from service.errors import StartupError
from service.settings import ENV_PREFIX, Settings, why_refused
from service.state import ServiceState

_REFUSED = 2
# How long connections that were accepted last get to send their request.
_LINGER_S = 1.0
# How long a request that is refused at the end has to be answered so.
_LAST_WORD_S = 0.5


class Server(uvicorn.Server):
    """Uvicorn, but SIGTERM first says so in /readyz, and stops listening `drain_s` later.

    A load balancer has that time to send its requests elsewhere, so that no client sees a refused connection.
    """

    def __init__(self, config: uvicorn.Config, state: ServiceState) -> None:
        super().__init__(config)
        self._state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on the first SIGTERM; end at once on any other signal, or on a second one."""
        drain_s = self._state.settings.drain_s
        if sig == signal.SIGTERM and drain_s > 0 and not self._state.draining:
            self._state.draining = True
            timer = Timer(drain_s, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
            return
        self._state.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and after a drain give the last connections time to be answered, each then closed.

        What is not answered shortly before that time ends is refused: uvicorn would cut it off with a bare 500.
        """
        for server in self.servers:
            server.close()
        if self._state.settings.drain_s > 0 and not self.force_exit:
            deadline = asyncio.get_running_loop().time() + _LINGER_S
            while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.01)
        left_s = max(self._state.settings.shutdown_timeout_s - _LAST_WORD_S, 0)
        asyncio.get_running_loop().call_later(left_s, self._state.end)
        await super().shutdown(sockets)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop, or check the models alone.

    Returns 2 where the settings or the models are refused, 1 where the check found a graph that answers otherwise.
    """
    options = _options(arguments)
    check_alone = options.pop("self_check")
    try:
        settings = Settings(**options)
    except ValidationError as error:
        return _refuse(why_refused(error))
    return _self_check(settings) if check_alone else _serve(settings)


def _self_check(settings: Settings) -> int:
    try:
        catalog = Catalog.verified(settings.models_dir, settings.device, settings.threads, settings.precision)
        return 0 if selfcheck.run(catalog) else 1
    except StartupError as error:
        return _refuse(str(error))


def _serve(settings: Settings) -> int:
    failures: list[str] = []

    def stop(sentence: str) -> None:
        failures.append(sentence)
        server.should_exit = True

    try:
        app = create_app(settings, on_failure=stop)
    except StartupError as error:
        return _refuse(str(error))
    config = uvicorn.Config(
        app,
        host=str(settings.host),
        port=settings.port,
        # The access log is our own: uvicorn's would write down the query.
        access_log=False,
        log_config=logs.config(settings.log_format, settings.log_level),
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
        server_header=False,
        http=protocol_with(settings.header_timeout_s),
        # There is no web socket here, and the deadline would not hold on one.
        ws="none",
        # Else uvicorn reads WEB_CONCURRENCY; there is one process, whatever that says.
        workers=1,
    )
    server = Server(config, app.state.service)
    # What is there by now stays: the collector would look through all of it every few seconds, and hold up requests.
    gc.freeze()
    try:
        server.run()
    except SystemExit:
        # Uvicorn has logged the sentence: the address is taken, say.
        return _REFUSED
    return _refuse(failures[0]) if failures else 0


def _options(arguments: list[str] | None) -> dict[str, Any]:
    """What the command line gives, which goes over the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve the models over HTTP.",
        epilog=f"Each option, and more, can be set in the environment: {ENV_PREFIX}PORT=8080.",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (default 8000)")
    parser.add_argument("--device", help="auto (default), cpu or cuda")
    parser.add_argument("--precision", help="auto (default), fp32, int8 or fp16")
    parser.add_argument("--models-dir", type=Path, help="the folder that holds manifest.json (default: the shipped)")
    parser.add_argument("--threads", help="threads inside one operator (default: the CPUs that may be used)")
    parser.add_argument(
        "--allow-anonymous", action="store_true", default=None, help="serve everybody who reaches --host, without keys"
    )
    parser.add_argument(
        "--self-check",
        action="store_true",
        help="serve nothing: compare every graph on --device with the CPU's plainest answers; 1 where one differs",
    )
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def _refuse(sentence: str) -> int:
    print(f"service: {sentence}", file=sys.stderr)
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
