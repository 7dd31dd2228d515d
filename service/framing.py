"""What frames the pixels of a PNG or JPEG: chunks and segments, read before any pixel is unpacked. Knows no Pillow.

Pillow walks through the pieces of a picture in Python, so that millions of empty ones would hold up the process.

Pillow takes a PNG whose rows are missing (they are black then), whose pixels do not fit their checksum, or that has
a second header with another size; this does not. A JPEG has no checksum: a changed bit in its scan, or a scan that
stops short before the end mark, makes other pixels and cannot be told.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import islice

from service.errors import ImageError

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# The largest picture that is taken, in chunks of 4 KiB, has 8,193; encoders write larger ones.
MAX_PIECES = 10_000
_SLICE = 4096
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column, first row, and the steps to the next ones, of each pass of an interlaced PNG (Adam7).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_AT_ONCE = ((0, 0, 1, 1),)
# The markers that a length follows, and the end mark. In a scan 0xff is followed by 0 or a restart marker.
_SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
# Those of them that tell a length to Pillow, which steps over JPG and the end mark as over bare markers.
_MEASURED = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda-\xef\xfe]")
_END, _SCAN = b"\xd9", b"\xda"


def check_pieces(data: bytes) -> None:
    """A picture is not in too many pieces: chunks of a PNG, segments and bytes between them before a JPEG's first scan.

    `data` is anything that begins as a PNG or JPEG does.

    Raises:
        ImageError: it is.
    """
    ends = _chunk_ends(data) if data.startswith(PNG) else _segment_ends(data)
    if sum(1 for _ in islice(ends, MAX_PIECES + 1)) > MAX_PIECES:
        raise ImageError(f"the image is in more than {MAX_PIECES} chunks or segments; allowed: at most so many")


def check_png(data: bytes) -> None:
    """Every chunk up to IEND fits its checksum, there is one header, the first chunk, and no pixel is missing.

    `data` is a PNG that Pillow has opened, so that its header is of a kind and size that there are.

    Raises:
        ImageError: the PNG is damaged or truncated, or has another header.
    """
    header, unpacked = b"", 0
    unpacker = zlib.decompressobj()
    for n, (kind, content) in enumerate(_chunks(data)):
        if (kind == b"IHDR") != (n == 0):
            raise ImageError(f"chunk {n} of the PNG image is {kind!r}; allowed: one IHDR, which is the first chunk")
        if n == 0:
            header = bytes(content)
        elif kind == b"IDAT":
            unpacked += _unpacked(unpacker, content, _wanted(header) - unpacked)
    if unpacked < _wanted(header):
        raise _damaged(f"it has {unpacked} bytes of pixels where its header asks for {_wanted(header)}")


def scans(jpeg: bytes) -> int:
    """How many scans a JPEG has; what is inside of other segments, and behind the end mark, is none."""
    count, place = 0, 2
    while (marker := _SEGMENT.search(jpeg, place)) is not None and marker[1] != _END:
        count += marker[1] == _SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return count


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each chunk up to IEND; what follows that is no part of the picture."""
    view, place, kind = memoryview(data), len(PNG), b""
    while kind != b"IEND":
        end = place + 8 + int.from_bytes(view[place : place + 4])
        checksum = view[end : end + 4]
        if len(checksum) < 4:
            raise _damaged(f"its {len(data)} bytes end before IEND")
        kind = bytes(view[place + 4 : place + 8])
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(checksum):
            raise _damaged(f"its chunk {kind!r} at byte {place} does not fit its checksum")
        yield kind, view[place + 8 : end]
        place = end + 4


def _chunk_ends(png: bytes) -> Iterator[int]:
    place, kind = len(PNG), b""
    while place + 8 <= len(png) and kind != b"IEND":
        kind = png[place + 4 : place + 8]
        place += 12 + int.from_bytes(png[place : place + 4])
        yield place


def _segment_ends(jpeg: bytes) -> Iterator[int]:
    """As Pillow steps: over segments that tell their length, over other markers, and over what is none byte by byte."""
    place = 2
    while place + 1 < len(jpeg) and (marker := jpeg[place : place + 2]) != b"\xff" + _SCAN:
        if _MEASURED.match(marker):
            place += 2 + int.from_bytes(jpeg[place + 2 : place + 4])
        else:
            place += 2 if marker[0] == 0xFF != marker[1] else 1
        yield place


def _unpacked(unpacker: zlib._Decompress, packed: memoryview, most: int) -> int:
    """How many bytes these are, up to `most`; of a slice at a time, so that few are held."""
    found = 0
    try:
        for start in range(0, len(packed), _SLICE):
            if found < most:
                found += len(unpacker.decompress(packed[start : start + _SLICE], most - found))
    except zlib.error as error:
        raise _damaged("its pixels cannot be unpacked") from error
    return found


def _wanted(header: bytes) -> int:
    """Bytes of all rows as they are packed: each begins with one for its filter, and is filled up to whole bytes."""
    width, height, depth, colour, interlaced = struct.unpack_from(">IIBBxxB", header)
    total = 0
    for left, top, right, down in _ADAM7 if interlaced else _AT_ONCE:
        columns, rows = (width - left + right - 1) // right, (height - top + down - 1) // down
        total += rows * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8) if columns else 0
    return total


def _damaged(why: str) -> ImageError:
    return ImageError(f"the PNG image is damaged or truncated: {why}")
