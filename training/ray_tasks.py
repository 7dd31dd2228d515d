"""An evaluation's jobs as tasks of a Ray cluster, whose machines need no disk in common with this one.

Code and models travel there, once for each machine; what the jobs find comes back. Knows nothing of what jobs do.
"""

from __future__ import annotations

import os
import pickle
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import torch

import service
import training
from service.cpus import usable_cpus
from service.errors import extra_hint
from training import devices
from training.errors import EvaluationError
from training.workers import RETRIES

T = TypeVar("T")
LOCAL = "local"
_ADDRESS = re.compile(r"auto|local|(?:ray://)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d{1,5})")
_ALLOWED = "auto, local, HOST:PORT from a machine of the cluster and ray://HOST:PORT from any"
_REACH_S = 5
_STORE_BYTES = 512 * 1024 * 1024
# Of the models folder the graphs travel alone: what is measured would make another package each time.
_STAYS_HERE = ["figures/", "*.csv", "*.md", "checks.json", "*.new/", "*.tmp", "__pycache__/"]


class RayTasks:
    """`Workers` of a Ray cluster: a thread of one CPU for each job, or `gpus` of a GPU.

    `address` is `local` for a cluster of this machine that ends with the `with` block, `auto` for the one that this
    machine is part of, else HOST:PORT or ray://HOST:PORT. Ray begins a job anew whose worker or machine has died.

    Raises (from `with`):
        EvaluationError: the address is not one, nothing answers there, or Ray is not installed.
    """

    def __init__(self, address: str, models: Path, gpus: float = 1.0) -> None:
        self._address = address
        self._models = models
        self._gpus = gpus
        self._ray: Any = None

    def __enter__(self) -> RayTasks:
        _check(self._address)
        self._ray = _import_ray(self._address)
        folders = [str(Path(cast(str, package.__file__)).parent) for package in (service, training)]
        travels = {"working_dir": str(self._models), "excludes": _STAYS_HERE, "py_modules": folders}
        options: dict[str, Any] = {"address": self._address, "runtime_env": travels, "log_to_driver": False}
        if self._address == LOCAL:
            options |= {"num_cpus": usable_cpus(), "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        try:
            self._ray.init(logging_level="ERROR", **options)
        except Exception as error:  # Ray raises that very class too
            raise EvaluationError(f"Ray at {self._address!r} cannot be used: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def run(self, jobs: Sequence[Callable[[], T]], *, gpu: bool = False) -> Iterator[tuple[int, T]]:
        """See `Workers`."""
        task = self._ray.remote(_execute).options(num_cpus=1, num_gpus=self._gpus if gpu else 0, max_retries=RETRIES)
        places = {task.remote(self._ray.cloudpickle.dumps(job)): place for place, job in enumerate(jobs)}
        try:
            while places:
                (ended,), _ = self._ray.wait(list(places), num_returns=1)
                yield places.pop(ended), self._result(ended)
        finally:
            for unfinished in places:
                self._ray.cancel(unfinished)

    def models_seen(self, models: Path) -> Path:
        """The folder in which tasks run."""
        if models.resolve() != self._models.resolve():
            raise ValueError(f"jobs look for the models of {models}; those of {self._models} have travelled")
        return Path()

    def device(self, choice: devices.DeviceChoice) -> torch.device:
        """A GPU where the cluster has one."""
        has_gpu = self._ray.cluster_resources().get("GPU", 0) >= self._gpus
        if choice == "cuda" and not has_gpu:
            raise EvaluationError(
                f"device 'cuda' was asked for, but no GPU is to be had at {self._address!r}; allowed there: auto, cpu"
            )
        return torch.device("cuda" if has_gpu and choice != "cpu" else "cpu")

    def _result(self, ended: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(ended)
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            raise EvaluationError(f"a task failed in Ray itself, after {RETRIES} retries: {error}") from error


def _execute(job: bytes) -> object:
    torch.set_num_threads(1)
    return pickle.loads(job)()


def _check(address: str) -> None:
    """Ray itself looks two minutes for one who does not answer, and then ends the process."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise EvaluationError(f"--ray is {address!r}; allowed: {_ALLOWED}")
    if found["host"] is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise EvaluationError(f"--ray is {address!r}, where nothing answers ({error}); allowed: {_ALLOWED}") from error


def _import_ray(address: str) -> Any:
    """With what Ray reads from the environment when it is imported, unless it is set otherwise."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # Its ports listen on all addresses whatever it is told, and who reaches them may run code.
        if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # for busy machines
    try:
        import ray  # noqa: PLC0415 - not in every environment, and slow to import
    except ImportError as error:
        raise EvaluationError(f"--ray needs Ray, which cannot be imported ({error}); {extra_hint('scale')}") from error
    return ray
