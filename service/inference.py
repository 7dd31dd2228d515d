"""ONNX Runtime sessions: the only file that imports onnxruntime. Knows neither HTTP nor the manifest."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

# The official builds of 1.29 and later report to their maker, and leave an identifier in the user's home, unless told
# not to before they are imported. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from service.errors import DeviceError

_LOGGER = logging.getLogger(__name__)
DeviceChoice = Literal["auto", "cpu", "cuda"]
Array = np.ndarray[Any, np.dtype[np.float32]]
Tensors = Mapping[str, Array]
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# The default search tunes anew for each batch size, and the default arena doubles with each extension.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
# Batches that a CUDA graph is recorded for; another is filled up to the next of them. Larger ones run unrecorded.
_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_GRAPH_ID = "gpu_graph_id"
_UNRECORDED = "-1"
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
        self._options.add_run_config_entry(_GRAPH_ID, _UNRECORDED)  # what is replayed cannot be ended

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

    def run(self, **inputs: Array) -> Tensors:
        """Outputs by name for inputs by name; raises what ONNX Runtime raises on shapes that do not fit."""
        return self._answer(inputs, _OPTIONS.get())

    def _answer(self, inputs: Tensors, options: ort.RunOptions | None) -> Tensors:
        outputs = self._session.run(None, inputs, options)
        return dict(zip(self.output_names, outputs, strict=True))


@dataclass(frozen=True)
class _Recorded:
    """Buffers on the device whose addresses a CUDA graph holds, bound to the session; `size` images."""

    size: int
    inputs: Mapping[str, ort.OrtValue]
    outputs: Mapping[str, ort.OrtValue]
    binding: ort.IOBinding
    options: ort.RunOptions

    def fits(self, inputs: Tensors) -> bool:
        """Whether these inputs differ from the buffers in their number of images alone."""
        return inputs.keys() == self.inputs.keys() and all(
            value.dtype == np.float32 and list(value.shape[1:]) == self.inputs[name].shape()[1:]
            for name, value in inputs.items()
        )


class ReplayedSession(Session):
    """A graph on a GPU whose kernels go there as one: recorded once for each bucket of batch sizes, then replayed.

    For small graphs at batch 1 launching the kernels one by one takes longer than they do. A recording belongs to the
    thread that made it, and nothing else may allocate meanwhile, so that every run takes place on `thread`. A batch is
    filled up with zeros to its bucket; a GPU's kernels may differ between buckets, and answers with them in the last
    bits.

    Args:
        session: opened with `enable_cuda_graph`, on a device that is named `device`.
        thread: one worker, shared by every session of the device.
    """

    def __init__(self, session: ort.InferenceSession, thread: ThreadPoolExecutor, device: str = "cuda") -> None:
        super().__init__(session)
        self._thread = thread
        self._device = device
        self._recorded: dict[int, _Recorded | None] = {}
        self._unrecorded = _run_options(_UNRECORDED)

    @property
    def replays(self) -> bool:
        """Whether any bucket could be recorded so far."""
        return any(self._recorded.values())

    def run(self, **inputs: Array) -> Tensors:
        """As `Session.run`. Once interrupted, nothing is replayed."""
        return self._thread.submit(self._on_the_device, inputs, _OPTIONS.get()).result()

    def _on_the_device(self, inputs: Tensors, options: ort.RunOptions | None) -> Tensors:
        options = options or self._unrecorded
        n = max(map(len, inputs.values()), default=0)
        size = next((size for size in _BUCKETS if size >= n), None)
        if size is None or any(len(value) != n for value in inputs.values()) or options.terminate:
            return self._answer(inputs, options)
        recorded = self._recorded.get(size)
        if recorded is not None and recorded.fits(inputs):
            return self._replayed(recorded, inputs, n)
        # This way raises what is wrong with the inputs, and says how large the outputs are.
        outputs = self._answer({name: _padded(value, size) for name, value in inputs.items()}, options)
        if size not in self._recorded:
            self._recorded[size] = self._record(size, inputs, outputs)
        return {name: value[:n] for name, value in outputs.items()}

    def _replayed(self, recorded: _Recorded, inputs: Tensors, n: int) -> Tensors:
        for name, value in inputs.items():
            recorded.inputs[name].update_inplace(_padded(value, recorded.size))
        self._session.run_with_iobinding(recorded.binding, recorded.options)
        return {name: value.numpy()[:n].copy() for name, value in recorded.outputs.items()}

    def _record(self, size: int, inputs: Tensors, outputs: Tensors) -> _Recorded | None:
        """Buffers for `size` images, and the run that the device records; None where it could not."""
        binding = self._session.io_binding()
        given = {name: self._on_device(_padded(value, size)) for name, value in inputs.items()}
        made = {name: self._on_device(np.empty_like(value)) for name, value in outputs.items()}
        for name, value in given.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in made.items():
            binding.bind_ortvalue_output(name, value)
        recorded = _Recorded(size, given, made, binding, _run_options(str(size)))
        try:
            self._replayed(recorded, inputs, size)
        except Exception as error:  # the engine's are of many kinds; what it cannot record it can still run
            _LOGGER.warning("batches of %d run without a CUDA graph: %s", size, " ".join(str(error).split()))
            return None
        return recorded

    def _on_device(self, values: Array) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(values, self._device, 0)


def _zeros(shape: Sequence[str | int]) -> Array:
    """One image's input of a graph's: a size without a number is the batch's."""
    return np.zeros([size if isinstance(size, int) else 1 for size in shape], np.float32)


def _padded(values: Array, size: int) -> Array:
    filled = np.zeros((size, *values.shape[1:]), values.dtype)
    filled[: len(values)] = values
    return filled


def _run_options(graph_id: str) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH_ID, graph_id)
    return options


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
        if self.asked == "cuda" and session.provider != _CUDA:
            raise DeviceError(f"device 'cuda' was asked for, but {path.name} got {session.provider}; {_DRIVER_HINT}")
        _return_freed_memory()
        return session

    def _plain(self, path: Path) -> Session:
        providers = [(_CUDA, _CUDA_OPTIONS), _CPU] if self.uses_cuda else [_CPU]
        return Session(ort.InferenceSession(path, self._options(), providers=providers))

    def _recording(self, path: Path) -> Session | None:
        """A session that replays; None where the engine cannot record this graph, as with a loop in it."""
        providers = [(_CUDA, {**_CUDA_OPTIONS, "enable_cuda_graph": "1"}), _CPU]
        try:
            # Without its fallback the engine raises; with it, it would open the graph on the CPU and print that.
            opened = ort.InferenceSession(path, self._options(), providers=providers, enable_fallback=0)
            session = ReplayedSession(opened, self._device_thread)
            session.run(**{spec.name: _zeros(spec.shape) for spec in opened.get_inputs()})
        except Exception as error:  # the engine's are of many kinds, and the plain way meets a real fault again
            _LOGGER.info("%s runs without a CUDA graph: %s", path.name, " ".join(str(error).split()))
            return None
        return session if session.replays else None

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
