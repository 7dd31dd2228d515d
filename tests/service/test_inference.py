"""The device that was asked for is the one in use, or there is a sentence that says why not."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.errors import DeviceError
from service.inference import Interruption, Runtime, usable_cpus
from tests.service.loops import adding


def classifier_file(models_dir: Path) -> Path:
    return models_dir / "mnist/mnist-classifier.onnx"


def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])


def test_cuda_fails_where_there_is_none_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cuda(monkeypatch)
    with pytest.raises(DeviceError, match=r"'cuda' was asked for.*CPUExecutionProvider.*make serve DEVICE=cuda"):
        Runtime("cuda")


def test_auto_takes_the_cpu_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch, models_dir: Path) -> None:
    without_cuda(monkeypatch)
    runtime = Runtime("auto")
    assert runtime.asked == "auto"
    assert runtime.open(classifier_file(models_dir)).provider == "CPUExecutionProvider"


def test_a_silent_fallback_to_the_cpu_fails_where_cuda_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, models_dir: Path
) -> None:
    real = ort.InferenceSession

    def falls_back(path: Path, options: Any, providers: list[Any]) -> Any:
        assert providers[0][0] == "CUDAExecutionProvider"
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(ort, "InferenceSession", falls_back)
    with pytest.raises(DeviceError, match=r"mnist-classifier.onnx got CPUExecutionProvider; .*driver.*--gpus all"):
        Runtime("cuda").open(classifier_file(models_dir))
    assert Runtime("auto").open(classifier_file(models_dir)).provider == "CPUExecutionProvider"


def test_two_distributions_of_the_engine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1")
    with pytest.raises(DeviceError, match="onnxruntime and onnxruntime-gpu are both installed"):
        Runtime("cpu")


def test_threads_are_what_was_asked_for_or_what_may_be_used() -> None:
    assert Runtime("cpu", 3).threads == 3
    assert Runtime("cpu").threads == usable_cpus() >= 1


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1)])
def test_the_cgroup_quota_cuts_the_cpus(monkeypatch: pytest.MonkeyPatch, quota: str, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda _: quota)
    assert usable_cpus() == expected


def test_a_session_answers_by_name(models_dir: Path) -> None:
    session = Runtime("cpu", 1).open(classifier_file(models_dir))
    outputs = session.run(images=np.zeros((3, 1, 28, 28), np.float32))
    assert set(outputs) == {"logits"}
    assert outputs["logits"].shape == (3, 10)


def test_cuda_does_not_tune_anew_for_each_batch_size(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    opened = ort.InferenceSession

    def recorded(path: Path, options: ort.SessionOptions, providers: list[Any]) -> ort.InferenceSession:
        asked.extend(providers)
        return opened(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", recorded)
    Runtime("auto", 1).open(classifier_file(models_dir))
    options = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    assert asked == [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def test_the_engine_does_not_report_to_its_maker(tmp_path: Path, models_dir: Path) -> None:
    ignored = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    program = (
        "import sys; from pathlib import Path; from service.inference import Runtime; "
        "Runtime('cpu', 1).open(Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, classifier_file(models_dir)],
        check=True,
        env={**environment, "HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
    )
    assert not list(tmp_path.iterdir())  # where it reports, it keeps an identifier and a queue of events here


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps freed memory")
def test_memory_freed_while_a_graph_is_opened_goes_back_to_the_system(models_dir: Path) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(100_000) for _ in range(1000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    for block in blocks[:-1]:  # the last one stays, and keeps the heap from shrinking by itself
        libc.free(block)
    held = _resident_bytes()
    Runtime("cpu", 1).open(classifier_file(models_dir))
    assert held - _resident_bytes() > 80_000_000
    libc.free(blocks[-1])


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_run_is_ended_from_another_thread_inside_its_loop_and_no_other_run_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A loop of hours, as Defense-GAN's descent is one of seconds."""
    endless = Runtime("cpu", threads=1).open(adding(tmp_path / "endless.onnx", turns=2**40))
    short = Runtime("cpu", threads=1).open(adding(tmp_path / "short.onnx", turns=3))
    sums: list[float] = []

    def compute(interruption: Interruption) -> None:
        with interruption, pytest.raises(Exception, match="terminate flag"):
            endless.run(images=np.zeros((1,), np.float32))
        sums.append(short.run(images=np.zeros((1,), np.float32))["sum"].item())  # the thread can run others again

    interruptions = [Interruption(), Interruption()]
    workers = [Thread(target=compute, args=(interruption,), daemon=True) for interruption in interruptions]
    for worker in workers:
        worker.start()
    workers[0].join(0.2)
    for n, (interruption, worker) in enumerate(zip(interruptions, workers, strict=True)):
        assert len(sums) == n
        interruption.interrupt()
        worker.join(30)
    assert sums == [3, 3]
    assert capfd.readouterr().err == ""
