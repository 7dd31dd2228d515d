"""Processes with one thread each: they use every core better than threads inside the operators do."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import TracebackType
from typing import TypeVar

import torch

from service.inference import usable_cpus

T = TypeVar("T")


class Workers:
    """Runs jobs in as many processes as there are usable CPUs; with one, in this process.

    The processes start with the first jobs and stay until the end of the `with` block.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes or usable_cpus()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def run(self, jobs: Sequence[Callable[[], T]]) -> Iterator[T]:
        """The results of picklable jobs, in the order in which they end."""
        if self._processes == 1:
            yield from (job() for job in jobs)
            return
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, mp_context=context, initializer=_start)
        for future in as_completed([self._pool.submit(job) for job in jobs]):
            yield future.result()


def _start() -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
