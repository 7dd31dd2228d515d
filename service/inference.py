"""Sessions of ONNX Runtime, run as they are or replayed on a GPU; `service.runtime` opens them. Knows no HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

_LOGGER = logging.getLogger(__name__)
Array = np.ndarray[Any, np.dtype[np.float32]]
Tensors = Mapping[str, Array]
# Batches that a CUDA graph is recorded for; another is filled up to the next of them. Larger ones run unrecorded.
_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
# Of a replayed answer from the one before it was recorded, as a share of its length: the kernels are the same.
_LARGEST_DEVIATION = 1e-2
_GRAPH_ID = "gpu_graph_id"
_UNRECORDED = "-1"


class Interruption:
    """Ends, from another thread, the runs of the one that has entered it; they raise what ONNX Runtime raises then.

    A run is ended between two operators, those inside a loop too; one that a GPU replays ends by itself. For one use.
    """

    def __init__(self) -> None:
        self._options = ort.RunOptions()
        self._options.log_severity_level = 4  # an ended run is no fault, and would be written to stderr as one
        self._options.add_run_config_entry(_GRAPH_ID, _UNRECORDED)

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

    def can_record(self) -> bool:
        """Whether one image can be recorded, which is tried."""
        self.run(**{spec.name: _zeros(spec.shape) for spec in self._session.get_inputs()})
        return self._recorded[1] is not None

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
        """Buffers for `size` images, and the run that the device records; None where it fails or answers otherwise."""
        try:
            binding = self._session.io_binding()
            given = {name: self._on_device(_padded(value, size)) for name, value in inputs.items()}
            made = {name: self._on_device(np.empty_like(value)) for name, value in outputs.items()}
            for name, value in given.items():
                binding.bind_ortvalue_input(name, value)
            for name, value in made.items():
                binding.bind_ortvalue_output(name, value)
            recorded = _Recorded(size, given, made, binding, _run_options(str(size)))
            self._replayed(recorded, inputs, size)
            again = self._replayed(recorded, inputs, size)
        except Exception as error:  # the engine's are of many kinds; what it cannot record it can still run
            _LOGGER.warning("batches of %d run kernel by kernel: %s", size, " ".join(str(error).split()))
            return None
        if not all(_alike(again[name], value) for name, value in outputs.items()):
            _LOGGER.warning("batches of %d run kernel by kernel: replayed, they are answered otherwise", size)
            return None
        return recorded

    def _on_device(self, values: Array) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(values, self._device, 0)


def _zeros(shape: Sequence[str | int]) -> Array:
    """One image's input of a graph's: a size without a number is the batch's."""
    return np.zeros([size if isinstance(size, int) else 1 for size in shape], np.float32)


def _alike(found: Array, expected: Array) -> bool:
    return bool(np.linalg.norm(found - expected) <= _LARGEST_DEVIATION * np.linalg.norm(expected))


def _padded(values: Array, size: int) -> Array:
    filled = np.zeros((size, *values.shape[1:]), values.dtype)
    filled[: len(values)] = values
    return filled


def _run_options(graph_id: str) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH_ID, graph_id)
    return options
