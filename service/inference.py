"""ONNX Runtime sessions: the only file that imports onnxruntime. Knows neither HTTP nor the manifest."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

# The official builds of 1.29 and later report to their maker, and leave an identifier in the user's home, unless told
# not to before they are imported. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from service.errors import DeviceError

DeviceChoice = Literal["auto", "cpu", "cuda"]
Tensors = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# The default search tunes anew for each batch size, and the default arena doubles with each extension.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
# How long a thread looks for its share of the next operator before it sleeps. To wake it takes longer than a small
# operator: without, the purifier took 1.6 times as long on two CPUs. Looking for as long as the default does takes
# the processor from whoever else has work: a third of the throughput when two sessions take turns.
_SPIN_US = 5
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
_INSTALL_HINT = (
    "install it with `make serve DEVICE=cuda` (or `pip install '.[cuda]'`, in a checkout and an environment "
    "without the CPU package onnxruntime) on a machine with an NVIDIA driver for CUDA 13"
)
_DRIVER_HINT = (
    "this ONNX Runtime can use CUDA, so look for the driver: NVIDIA's for CUDA 13, and in a container NVIDIA's "
    "container toolkit with `--gpus all`"
)


class Interruption:
    """Ends, from another thread, the runs of the one that has entered it; they raise what ONNX Runtime raises then.

    A run is ended between two operators, those inside a loop too. For one use.
    """

    def __init__(self) -> None:
        self._options = ort.RunOptions()
        self._options.log_severity_level = 4  # an ended run is no fault, and would be written to stderr as one

    def __enter__(self) -> None:
        self._token = _OPTIONS.set(self._options)

    def __exit__(self, *_: object) -> None:
        _OPTIONS.reset(self._token)

    def interrupt(self) -> None:
        """End the run that goes on, and every later one."""
        self._options.terminate = True


_OPTIONS: ContextVar[ort.RunOptions | None] = ContextVar("run options", default=None)


class Session:
    """One loaded graph. Thread-safe: ONNX Runtime sessions may run concurrently."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.provider: str = session.get_providers()[0]
        self.output_names = tuple(item.name for item in session.get_outputs())

    def run(self, **inputs: np.ndarray[Any, np.dtype[np.float32]]) -> Tensors:
        """Outputs by name for inputs by name; raises what ONNX Runtime raises on shapes that do not fit."""
        outputs = self._session.run(None, inputs, _OPTIONS.get())
        return dict(zip(self.output_names, outputs, strict=True))


class Runtime:
    """Opens sessions on the device asked for, and says which provider it got.

    Args:
        device: ``cuda`` uses the CUDA provider or fails, ``cpu`` the CPU provider, ``auto`` CUDA where usable.
        threads: threads inside one operator; None takes what the process may use (affinity and cgroup quota).
        optimized: let the engine fuse and rewrite operators.

    Raises:
        DeviceError: ``cuda`` cannot be had but was asked for, or both distributions of ONNX Runtime are here.
    """

    def __init__(self, device: DeviceChoice = "auto", threads: int | None = None, *, optimized: bool = True) -> None:
        _refuse_two_distributions()
        self.asked: DeviceChoice = device
        self.threads = threads or usable_cpus()
        self._optimized = optimized
        self.version: str = ort.__version__
        self.uses_cuda = _decide(device)

    def open(self, path: Path) -> Session:
        """Load one graph.

        Raises:
            DeviceError: the device is ``cuda`` but the session fell back to another provider.
        """
        providers = [(_CUDA, _CUDA_OPTIONS), _CPU] if self.uses_cuda else [_CPU]
        session = Session(ort.InferenceSession(path, self._options(), providers=providers))
        if self.asked == "cuda" and session.provider != _CUDA:
            raise DeviceError(f"device 'cuda' was asked for, but {path.name} got {session.provider}; {_DRIVER_HINT}")
        _return_freed_memory()
        return session

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if not self._optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
        return options


def _return_freed_memory() -> None:
    """Give back to the system what opening a graph has freed: as much as it keeps, and glibc holds on to it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it, and only glibc needs it
    if trim is not None:
        trim(0)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, cut by the cgroup quota (v2 or v1) where there is one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def _cgroup_quota() -> float | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit_v1 = int((folder / "cpu.cfs_quota_us").read_text())
        return None if limit_v1 <= 0 else limit_v1 / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def _decide(device: DeviceChoice) -> bool:
    if device == "cpu":
        return False
    available = _CUDA in ort.get_available_providers()
    if device == "cuda" and not available:
        raise DeviceError(
            f"device 'cuda' was asked for, but this ONNX Runtime {ort.__version__} offers only "
            f"{', '.join(ort.get_available_providers())}; {_INSTALL_HINT}"
        )
    if available:
        ort.preload_dlls()
    return available


def _refuse_two_distributions() -> None:
    installed = [name for name in _DISTRIBUTIONS if _is_installed(name)]
    if len(installed) > 1:
        raise DeviceError(
            f"{' and '.join(installed)} are both installed and share one import name, so that the CPU one wins "
            "silently; uninstall both, then install the one you want"
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
