"""An exported classifier as int8: QDQ, activations U8 and weights S8 per channel. Knows no manifest."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

_BATCH = 64

Array = np.ndarray[Any, Any]


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
    """Calibration images (N, 1, 28, 28), batch by batch."""

    def __init__(self, images: Array) -> None:
        self._batches: Iterator[Array] = (images[first : first + _BATCH] for first in range(0, len(images), _BATCH))

    def get_next(self) -> dict[str, Array] | None:
        """The next batch; None after the last one, as the calibrator asks for it."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def quantize(source: Path, target: Path, calibration: Array) -> None:
    """Write the classifier graph `source` as int8, with its weights inside, to `target`.

    U8S8 and not U8U8, which ONNX Runtime computes two to three times slower; per channel, since the channels of one
    convolution differ in range.

    Args:
        calibration: images (N, 1, 28, 28) like those that will come, attacked and purified ones too: what they reach
            in each layer is the range that the 8 bits cover.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "fp32.onnx"
        onnx.save_model(_with_plain_weights(onnx.load(source)), plain)
        # It warns of a pre-processing that fuses batch normalisations, of which VGG-16 has none here.
        logging.getLogger().setLevel(logging.ERROR)
        quantize_static(
            plain,
            target,
            _Batches(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


def _with_plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """float32 weights in place of float16 ones that are cast: the quantizer looks for constants, not for casts."""
    casts = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    for tensor in model.graph.initializer:
        if tensor.name in casts:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, casts.pop(tensor.name)))
    kept = [node for node in model.graph.node if node.op_type != "Cast"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model
