"""Who does the work of an evaluation: processes of this machine with one thread each, which use every core better than
threads inside the operators do. `training/ray_tasks.py` has the machines of a Ray cluster do it.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import torch

from service.cpus import usable_cpus
from training import devices
from training.errors import EvaluationError

T = TypeVar("T")
# How often a job is begun anew whose worker has died, as one does that the system kills for its memory.
RETRIES = 3


class Workers(Protocol):
    """Run picklable jobs that write nothing; what a job gives must not depend on where and when it runs."""

    def run(self, jobs: Sequence[Callable[[], T]], *, gpu: bool = False) -> Iterator[tuple[int, T]]:
        """Each job's place and result, in the order in which they end; `gpu` where the jobs need one.

        Raises:
            EvaluationError: workers died again and again. What a job raises is raised.
        """

    def models_seen(self, models: Path) -> Path:
        """Where jobs find the models folder."""

    def device(self, choice: devices.DeviceChoice) -> torch.device:
        """The device of the jobs that attack.

        Raises:
            TrainingError: `cuda` was asked for and there is none.
        """


class Processes:
    """As many processes as there are usable CPUs; with one, or on a GPU, which one uses best, this process itself.

    The processes start with the first jobs and stay until the end of the `with` block.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes or usable_cpus()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def run(self, jobs: Sequence[Callable[[], T]], *, gpu: bool = False) -> Iterator[tuple[int, T]]:
        """See `Workers`."""
        if gpu or self._processes == 1:
            yield from enumerate(job() for job in jobs)
            return
        left = dict(enumerate(jobs))
        for _ in range(RETRIES + 1):
            try:
                for place, result in self._ended(left):
                    del left[place]
                    yield place, result
                return
            except BrokenProcessPool:
                self._pool = None
        raise EvaluationError(f"worker processes died {RETRIES + 1} times, perhaps for want of memory; use fewer")

    def models_seen(self, models: Path) -> Path:
        """The very folder."""
        return models

    def device(self, choice: devices.DeviceChoice) -> torch.device:
        """One of this machine."""
        return devices.resolve(choice)

    def _ended(self, jobs: dict[int, Callable[[], T]]) -> Iterator[tuple[int, T]]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, mp_context=context, initializer=_start)
        places = {self._pool.submit(job): place for place, job in jobs.items()}
        for future in as_completed(places):
            yield places[future], future.result()


def _start() -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
