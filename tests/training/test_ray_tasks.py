"""An evaluation gives the same whether one process makes it, two do, or a Ray cluster does."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from tests.training import test_workers, tiny_classifier
from tests.training.test_workers import JOBS, die_once
from tests.training.tiny_classifier import on_tiny_nets
from training import canaries, crafting
from training.data import Examples
from training.devices import DeviceChoice
from training.errors import EvaluationError, GateError
from training.evaluate import evaluate
from training.outcome import Outcome
from training.probes import Probes
from training.protocols import Sizes
from training.ray_tasks import RayTasks
from training.workers import Processes, Workers

T = TypeVar("T")
ENVIRONMENT = ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_raylet_start_wait_time_s")


@dataclass
class TinyWorkers:
    """Workers who know the tiny nets. They count the results they have given, and are interrupted after `patience`."""

    workers: Workers
    models: Path
    patience: int | None = None
    given: int = 0

    def run(self, jobs: Sequence[Callable[[], T]], *, gpu: bool = False) -> Iterator[tuple[int, T]]:
        for found in self.workers.run([partial(on_tiny_nets, job) for job in jobs], gpu=gpu):
            if self.given == self.patience:
                raise KeyboardInterrupt
            self.given += 1
            yield found

    def models_seen(self, models: Path) -> Path:
        assert (models / "manifest.json").read_bytes() == (self.models / "manifest.json").read_bytes()
        return self.workers.models_seen(self.models)

    def device(self, choice: DeviceChoice) -> torch.device:
        return self.workers.device(choice)


@pytest.fixture(scope="module")
def cluster(exported_models: Path) -> Iterator[RayTasks]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:  # so that what is set meanwhile is taken back
            patch.delenv(name, raising=False)
        patch.setenv("RAY_worker_niceness", "0")
        with RayTasks("local", exported_models) as tasks:
            from ray import cloudpickle

            for module in (test_workers, tiny_classifier):  # tests do not travel
                cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
            yield tasks


@pytest.fixture
def measured(
    models: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Workers, str], dict[str, bytes]]:
    """Evaluates by some workers, and gives every file that is written."""
    monkeypatch.setattr(crafting, "CHUNK", 20)
    for name in ("eval_mode", "ball", "cross_library", "canaries", "parity"):
        monkeypatch.setattr(Probes, name, lambda *_: Outcome("passed", "not asked."))

    def measure(workers: Workers, name: str) -> dict[str, bytes]:
        cache = models.parent / name
        for file in ("results.csv", "confusions.csv"):
            (models / file).unlink(missing_ok=True)
        with suppress(GateError):  # whether an untrained net passes is another matter
            evaluate(
                *("mnist", "quick"),
                test=examples,
                train=lambda: examples,
                models=models,
                cache=cache,
                device=workers.device("auto"),
                sizes=Sizes(n=60, pgd_n=40, sweep_n=20, check_n=10),
                workers=workers,
            )
        kept = {str(file.relative_to(cache)): file.read_bytes() for file in cache.rglob("*.npy")}
        return {file: (models / file).read_bytes() for file in ("results.csv", "confusions.csv")} | kept

    return measure


def test_rows_and_images_are_the_same_to_the_byte_whoever_makes_them(
    measured: Callable[[Workers, str], dict[str, bytes]], cluster: RayTasks, exported_models: Path
) -> None:
    one = measured(Processes(1), "one")
    assert len(one) > 30
    with Processes(2) as processes:
        two = TinyWorkers(processes, exported_models)
        assert measured(two, "two") == one
    interrupted, resumed = (TinyWorkers(cluster, exported_models, patience) for patience in (7, None))
    with pytest.raises(KeyboardInterrupt):
        measured(interrupted, "many")
    assert measured(resumed, "many") == one
    assert interrupted.given + resumed.given == two.given


def test_tasks_give_what_processes_give_and_pass_errors_on(cluster: RayTasks, examples: Examples) -> None:
    assert sorted(cluster.run(JOBS)) == [(0, 0), (1, 10), (2, 20)]
    assert dict(cluster.run([torch.get_num_threads, os.getpid]))[0] == 1
    attack = partial(
        canaries.attack_robust_net, canaries.SmallNet(), examples.images.numpy(), examples.labels.numpy(), 0
    )
    assert list(cluster.run([attack])) == list(Processes(1).run([attack]))
    with pytest.raises(ZeroDivisionError):
        list(cluster.run([partial(operator.floordiv, 1, 0)]))


def test_a_task_whose_worker_dies_is_begun_anew(cluster: RayTasks, tmp_path: Path) -> None:
    assert sorted(cluster.run([*JOBS, partial(die_once, 7, tmp_path)])) == [(0, 0), (1, 10), (2, 20), (3, 7)]


def test_a_cluster_of_this_machine_is_closed_to_others_and_reports_to_nobody(cluster: RayTasks) -> None:
    usage, mode, token, _ = (os.environ[name] for name in ENVIRONMENT)
    assert (usage, mode, len(token)) == ("0", "token", 64)
    assert list(cluster.run([partial(os.environ.get, "RAY_AUTH_MODE")])) == [(0, "token")]


def test_a_gpu_that_the_cluster_lacks_is_refused(cluster: RayTasks) -> None:
    assert cluster.device("auto") == torch.device("cpu")
    with pytest.raises(EvaluationError, match="no GPU is to be had at 'local'; allowed there: auto, cpu"):
        cluster.device("cuda")


def test_other_models_than_those_that_travelled_are_refused(cluster: RayTasks, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have travelled"):
        cluster.models_seen(tmp_path)


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1", "http://127.0.0.1:80", "127.0.0.1:six"])
def test_what_is_no_address_is_quoted_beside_what_is_one(address: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=f"--ray is '{address}'; allowed: auto, local, HOST:PORT"):
        RayTasks(address, tmp_path).__enter__()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_where_nothing_answers_no_minutes_are_waited(address: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=f"--ray is '{address}', where nothing answers"):
        RayTasks(address, tmp_path).__enter__()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EvaluationError, match=r"install the extra `scale`: pip install '\.\[scale\]'"):
        RayTasks("auto", tmp_path).__enter__()
