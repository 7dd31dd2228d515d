"""The device that was asked for is the one in use, or there is a sentence that says why not."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from threading import Thread, current_thread
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from service.cpus import usable_cpus
from service.errors import DeviceError
from service.inference import Interruption, Session
from service.runtime import Runtime
from tests.service.loops import adding
from tests.service.tiny_models import NOISE

ENGINE_ERRORS = (Fail, InvalidArgument, RuntimeException)


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

    def falls_back(path: Path, options: Any, providers: list[Any], enable_fallback: int = 1) -> Any:
        assert providers[0][0] == "CUDAExecutionProvider"
        if not enable_fallback:
            raise RuntimeError("no CUDA driver")
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


class PretendedGpu:
    """Opens graphs on the CPU where CUDA is asked for, and says that it is CUDA; notes with what it was asked.

    `refuses`: what opening fails with where the kernels are to be recorded; `breaks`: what the run that is recorded
    fails with.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuses: str = "", breaks: str = "") -> None:
        self.asked: list[Mapping[str, str]] = []
        self.threads: set[str] = set()
        self.graphs: list[str] = []
        opened, ran, alone = ort.InferenceSession, ort.InferenceSession.run_with_iobinding, ort.InferenceSession.run
        on_device, gpu = ort.OrtValue.ortvalue_from_numpy, self

        class Opened(opened):  # type: ignore[misc, valid-type]  # its package has no types
            def __init__(self, path: Path, options: Any, providers: list[Any], enable_fallback: int = 1) -> None:
                assert [providers[0][0], *providers[1:]] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
                gpu.asked.append(providers[0][1])
                if refuses and "enable_cuda_graph" in providers[0][1]:
                    assert not enable_fallback, "it would open the graph on the CPU instead"
                    raise RuntimeError(refuses)
                super().__init__(path, options, providers=["CPUExecutionProvider"])

            def get_providers(self) -> list[str]:
                return ["CUDAExecutionProvider", "CPUExecutionProvider"]

            def run(self, names: Any, inputs: Any, options: Any = None) -> Any:
                if "enable_cuda_graph" in gpu.asked[-1]:
                    assert options.get_run_config_entry("gpu_graph_id") == "-1", "it would be recorded unbound"
                    gpu.threads.add(current_thread().name)
                return alone(self, names, inputs, options)

            def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
                if breaks:
                    raise RuntimeError(breaks)
                gpu.threads.add(current_thread().name)
                gpu.graphs.append(options.get_run_config_entry("gpu_graph_id"))
                ran(self, binding, options)

        def placed(values: Any, device: str, number: int) -> Any:
            assert (device, number) == ("cuda", 0)
            return on_device(values, "cpu", 0)

        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
        monkeypatch.setattr(ort, "preload_dlls", lambda: None)
        monkeypatch.setattr(ort, "InferenceSession", Opened)
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", placed)


def pipeline_file(models_dir: Path) -> Path:
    return models_dir / "mnist/mnist-pipeline-autoencoder.onnx"


def asked_of(session: Session, n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    images, noise = rng.random((n, 1, 28, 28), np.float32), rng.standard_normal((n, NOISE), np.float32)
    return session.run(images=images, noise=noise)["logits"]


def test_cuda_does_not_tune_anew_for_each_batch_size(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = PretendedGpu(monkeypatch)
    Runtime("auto", 1).open(classifier_file(models_dir))
    options = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    assert gpu.asked == [{**options, "enable_cuda_graph": "1"}]


def test_a_gpu_replays_one_recording_for_each_bucket_and_answers_for_each_image_alone(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (1, 2, 3, 5, 64, 65, 3, 1)
    plain = Runtime("cpu", 1).open(pipeline_file(models_dir))
    expected = [asked_of(plain, n, seed) for seed, n in enumerate(sizes)]
    gpu = PretendedGpu(monkeypatch)
    session = Runtime("cuda", 1).open(pipeline_file(models_dir))
    gpu.graphs.clear()
    found = [asked_of(session, n, seed) for seed, n in enumerate(sizes)]
    for answer, truth in zip(found, expected, strict=True):
        np.testing.assert_array_equal(answer, truth)
    # 1 was recorded when the graph was opened; the others at their first use, and looked at once; 65 images never.
    assert gpu.graphs == ["1", "2", "2", "4", "4", "8", "8", "64", "64", "4", "1"]
    assert gpu.threads == {"gpu_0"}


def test_an_answer_of_a_gpu_is_not_overwritten_by_the_next(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PretendedGpu(monkeypatch)
    session = Runtime("cuda", 1).open(pipeline_file(models_dir))
    first = asked_of(session, 1, seed=1)
    kept = first.copy()
    assert not np.array_equal(asked_of(session, 1, seed=2), kept)
    np.testing.assert_array_equal(first, kept)


def test_a_bucket_that_cannot_be_recorded_later_runs_without_and_is_not_tried_again(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = asked_of(Runtime("cpu", 1).open(pipeline_file(models_dir)), 3)
    gpu = PretendedGpu(monkeypatch)
    session = Runtime("cuda", 1).open(pipeline_file(models_dir))

    def full(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as later:
        later.setattr(ort.OrtValue, "ortvalue_from_numpy", full)
        np.testing.assert_array_equal(asked_of(session, 3), expected)
    assert "batches of 4 run kernel by kernel: out of memory" in caplog.text
    gpu.graphs.clear()
    np.testing.assert_array_equal(asked_of(session, 3), expected)
    assert not gpu.graphs


def test_a_recording_that_answers_otherwise_is_not_kept(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = asked_of(Runtime("cpu", 1).open(pipeline_file(models_dir)), 3)
    PretendedGpu(monkeypatch)
    session = Runtime("cuda", 1).open(pipeline_file(models_dir))
    monkeypatch.setattr(ort.InferenceSession, "run_with_iobinding", lambda *_: None)  # what is bound stays as it was
    for _ in range(2):
        np.testing.assert_array_equal(asked_of(session, 3), expected)
    assert "batches of 4 run kernel by kernel: replayed, they are answered otherwise" in caplog.text


@pytest.mark.parametrize("trouble", ["refuses", "breaks"])
def test_what_cannot_be_recorded_runs_without(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    expected = asked_of(Runtime("cpu", 1).open(pipeline_file(models_dir)), 3)
    gpu = PretendedGpu(monkeypatch, **{trouble: "control flow\nnodes"})
    with caplog.at_level("INFO"):
        session = Runtime("cuda", 1).open(pipeline_file(models_dir))
    np.testing.assert_array_equal(asked_of(session, 3), expected)
    assert session.provider == "CUDAExecutionProvider"
    assert ["enable_cuda_graph" in asked for asked in gpu.asked] == [True, False]
    assert "kernel by kernel: control flow nodes" in caplog.text


def test_inputs_that_do_not_fit_fail_on_a_gpu_as_on_a_cpu(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, noise = np.zeros((2, 1, 28, 28), np.float32), np.zeros((2, NOISE), np.float32)
    wrong: list[dict[str, Any]] = [
        {"images": images},
        {"images": images, "noise": noise, "more": noise},
        {"images": images[:1], "noise": noise},
        {"images": images[..., :27], "noise": noise},
        {"images": images.astype(np.float64), "noise": noise},
    ]
    plain = Runtime("cpu", 1).open(pipeline_file(models_dir))
    PretendedGpu(monkeypatch)
    session = Runtime("cuda", 1).open(pipeline_file(models_dir))

    def outcome(session: Session, inputs: dict[str, Any]) -> object:
        try:
            return session.run(**inputs)["logits"].shape
        except (ValueError, *ENGINE_ERRORS) as error:
            return type(error)

    for _ in range(2):
        assert [outcome(session, inputs) for inputs in wrong] == [outcome(plain, inputs) for inputs in wrong]
        assert outcome(session, {"images": images, "noise": noise}) == (2, 10)


def test_a_run_on_a_gpu_that_was_interrupted_is_not_replayed(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = PretendedGpu(monkeypatch)
    session = Runtime("cuda", 1).open(pipeline_file(models_dir))
    interruption = Interruption()
    with interruption:
        asked_of(session, 1)
        gpu.graphs.clear()
        interruption.interrupt()
        with pytest.raises(ENGINE_ERRORS, match="terminate"):
            asked_of(session, 1)
    assert not gpu.graphs


def test_the_engine_does_not_report_to_its_maker(tmp_path: Path, models_dir: Path) -> None:
    ignored = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    program = (
        "import sys; from pathlib import Path; from service.runtime import Runtime; "
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
