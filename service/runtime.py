"""Which device graphs run on, and how they are opened there. Knows neither HTTP nor the manifest."""

from __future__ import annotations

import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from service.cpus import usable_cpus
from service.errors import DeviceError
from service.inference import ReplayedSession, Session

_LOGGER = logging.getLogger(__name__)
DeviceChoice = Literal["auto", "cpu", "cuda"]
_CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
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
        session = (self._recording(path) if self.uses_cuda else None) or self._plain(path)
        if self.asked == "cuda" and session.provider != CUDA:
            raise DeviceError(f"device 'cuda' was asked for, but {path.name} got {session.provider}; {_DRIVER_HINT}")
        _return_freed_memory()
        return session

    def _plain(self, path: Path) -> Session:
        providers = [(CUDA, _CUDA_OPTIONS), _CPU] if self.uses_cuda else [_CPU]
        return Session(ort.InferenceSession(path, self._options(), providers=providers))

    def _recording(self, path: Path) -> Session | None:
        """A session that replays; None where the engine cannot record this graph, as with a loop in it."""
        providers = [(CUDA, {**_CUDA_OPTIONS, "enable_cuda_graph": "1"}), _CPU]
        try:
            # Without its fallback the engine raises; with it, it would open the graph on the CPU and print that.
            opened = ort.InferenceSession(path, self._options(), providers=providers, enable_fallback=0)
            if opened.get_providers()[0] != CUDA:
                return None
            session = ReplayedSession(opened, self._device_thread)
            return session if session.can_record() else None
        except Exception as error:  # the engine's are of many kinds, and the plain way meets a real fault again
            _LOGGER.info("%s runs kernel by kernel: %s", path.name, " ".join(str(error).split()))
            return None

    @cached_property
    def _device_thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="gpu")

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


def _decide(device: DeviceChoice) -> bool:
    if device == "cpu":
        return False
    available = CUDA in ort.get_available_providers()
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
