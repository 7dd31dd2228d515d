"""Checks of IDX files, the format of MNIST: a magic number, the sizes, then unsigned bytes. torchvision reads them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

from training.errors import DataError


def check_pair(images: Path, labels: Path) -> None:
    """The files hold 28 x 28 images and as many labels, to the last byte.

    Raises:
        DataError: one cannot be read or is not such a file, or there are more images than labels, or fewer, or a
            label is above 9.
    """
    n, height, width = _shape(images, dimensions=3)
    if (height, width) != (28, 28):
        raise DataError(f"{images} holds images of {height} x {width}; allowed: 28 x 28")
    (found,) = _shape(labels, dimensions=1)
    if found != n:
        raise DataError(f"{labels} holds {found} labels; allowed: {n}, as many as there are images in {images}")
    if (largest := max(labels.read_bytes()[8:], default=0)) > 9:  # 8 bytes are the header
        raise DataError(f"{labels} holds label {largest}; allowed: 0 to 9")


def _shape(path: Path, dimensions: int) -> tuple[int, ...]:
    start = bytes([0, 0, 8, dimensions])  # 8 stands for unsigned bytes
    length = len(start) + 4 * dimensions
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(length)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(header) < length or not header.startswith(start):
        raise DataError(
            f"{path} has {size} bytes and starts with '{header[:4].hex(' ')}'; allowed: an IDX file of unsigned bytes "
            f"in {dimensions} dimension{'s' if dimensions > 1 else ''}, which starts with '{start.hex(' ')}'"
        )
    shape = struct.unpack(f">{dimensions}I", header[len(start) :])
    expected = length + math.prod(shape)
    if size != expected:
        raise DataError(
            f"{path} has {size} bytes; allowed: {expected}, since its header declares {' x '.join(map(str, shape))}; "
            "delete the file to have it downloaded again"
        )
    return shape
