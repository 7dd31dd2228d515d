"""Which precision answers: fp16 on a GPU, int8 where the processor is fast at it, else fp32. Knows no models."""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path
from typing import Literal

_LOGGER = logging.getLogger(__name__)
PrecisionChoice = Literal["auto", "fp32", "int8", "fp16"]
Precision = Literal["fp32", "int8", "fp16"]
REDUCED: tuple[Precision, ...] = ("int8", "fp16")
# Dot products of int8 on x86, and what Linux calls NEON on Arm. Without them int8 is slower than fp32, and ONNX
# Runtime's kernels for older x86 may saturate at 16 bits, so that int8 answers are worse too.
_FAST_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
_CPUINFO = Path("/proc/cpuinfo")


def has_fast_int8(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor has dot products of int8; False where the system does not tell."""
    try:
        words = cpuinfo.read_text().split()
    except OSError:
        return False
    return not _FAST_INT8.isdisjoint(words)


def choose(asked: PrecisionChoice, *, on_cuda: bool, shipped: Container[str]) -> Precision:
    """The precision to serve; `auto` takes, of those shipped, the one that the device is fast at."""
    if asked == "int8" and not on_cuda and not has_fast_int8():
        _LOGGER.warning(
            "int8 was asked for on a processor without dot products of int8: there it is slow, and may answer worse"
        )
    if asked == "fp16" and not on_cuda:
        _LOGGER.warning("fp16 was asked for without a GPU: a CPU computes it in fp32, between casts")
    if asked != "auto":
        return asked
    if on_cuda:
        return "fp16" if "fp16" in shipped else "fp32"
    return "int8" if "int8" in shipped and has_fast_int8() else "fp32"
