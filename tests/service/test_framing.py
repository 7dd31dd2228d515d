"""A PNG that is not whole or has a second size is refused, and a JPEG's scans are counted where they are."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service import framing, images
from service.errors import ImageError
from tests.service.asking import digit, picture

WIDE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (280, 280)).astype(np.uint8))
SMALL, LARGE = (28, 28, 8, 0), (2048, 2048, 16, 6)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def whole(*chunks: bytes) -> bytes:
    return framing.PNG + b"".join([*chunks, chunk(b"IEND")])


def pixels(n: int) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes(n)))


@pytest.mark.parametrize(
    "data",
    [
        whole(header(*SMALL), header(*LARGE), pixels(2048 * 8 + 1)),
        whole(chunk(b"prVt", struct.pack(">II", 1, 1)), header(*LARGE), pixels(2048 * 8 + 1)),
        whole(header(*SMALL), pixels(28 * 29), header(*LARGE)),
    ],
    ids=["another before the pixels", "not the first chunk", "another behind the pixels"],
)
def test_a_png_that_seems_small_and_is_not_is_refused_before_its_pixels_are_unpacked(data: bytes) -> None:
    assert images.is_small(data)
    with pytest.raises(ImageError, match="allowed: one IHDR, which is the first chunk"):
        images.decode(data)


def _jpeg_with(junk: bytes) -> bytes:
    sound = picture(Image.new("L", (28, 28), 200), "JPEG")
    return sound[:2] + junk + sound[2:]


@pytest.mark.parametrize(
    ("one", "flood"),
    [
        (whole(header(*SMALL), chunk(b"teSt"), pixels(28 * 29)),
         whole(header(*SMALL), *[chunk(b"teSt")] * 10_000, pixels(28 * 29))),
        *((_jpeg_with(junk), _jpeg_with(junk * 10_000)) for junk in (
            b"\xff\xfe\x00\x02", b"\xff", b"\xff\xd8", b"\xff\xd0", b"\xff\x00", b"\xff\xd9", b"\xff\xf0")),
        (_jpeg_with(b"\xff\xd8" + bytes(1)), _jpeg_with(b"\xff\xd8" + bytes(10_000))),
    ],
    ids=["chunks", "segments", "fill bytes", "starts", "restarts", "escaped", "ends", "reserved", "zeros"],
)  # fmt: skip
def test_a_picture_in_very_many_pieces_is_refused_before_pillow_walks_through_them(
    one: bytes, flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    framing.check_pieces(one)
    monkeypatch.setattr(images, "_FORMATS", dict.fromkeys(images._FORMATS, lambda _: pytest.fail("opened")))
    with pytest.raises(ImageError, match="more than 10000 chunks or segments"):
        images.decode(flood)


def test_what_follows_a_pictures_end_is_no_piece_of_it() -> None:
    for sound in (digit(), _jpeg_with(b"")):
        assert np.array_equal(images.decode(sound + bytes(200_000)), images.decode(sound))


def test_no_changed_bit_of_a_png_changes_its_pixels() -> None:
    sound = digit()
    expected = images.decode(sound)
    taken = 0
    for place in range(8 * len(sound)):
        changed = bytearray(sound)
        changed[place // 8] ^= 1 << place % 8
        try:
            assert np.array_equal(images.decode(bytes(changed)), expected)
            taken += 1
        except ImageError:
            continue
    assert taken == 0


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt"])
def test_a_chunk_that_does_not_fit_its_checksum_is_refused(kind: bytes) -> None:
    behind = whole(header(*SMALL), pixels(28 * 29), chunk(b"tEXt", b"a\0b"))
    broken = bytearray(behind)
    broken[behind.index(kind) + 5] ^= 1
    with pytest.raises(ImageError, match=f"damaged or truncated: its chunk b'{kind.decode()}' at byte .* checksum"):
        images.decode(bytes(broken))


def test_a_cut_png_is_refused_wherever_it_is_cut_and_what_follows_its_end_is_not_looked_at() -> None:
    sound = digit()
    for end in range(len(sound)):
        with pytest.raises(ImageError):
            images.decode(sound[:end])
    assert np.array_equal(images.decode(sound + b"more"), images.decode(sound))


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (28, 28), (61, 9)])
@pytest.mark.parametrize(("depth", "colour", "channels"), [(1, 0, 1), (4, 3, 1), (8, 0, 1), (8, 2, 3), (16, 6, 4)])
def test_a_png_without_its_last_pixels_is_refused(
    interlaced: int, size: tuple[int, int], depth: int, colour: int, channels: int
) -> None:
    width, height = size
    parts = [np.zeros((height, width))]
    if interlaced:
        whole_picture = parts[0]
        starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        parts = [whole_picture[top::down, left::right] for top, left, down, right in starts]
    packed = sum(len(part) * (1 + -(-part.shape[1] * depth * channels // 8)) for part in parts if part.size)
    head = [header(width, height, depth, colour, interlaced), *([chunk(b"PLTE", bytes(3))] if colour == 3 else [])]
    images.decode(whole(*head, pixels(packed)))
    with pytest.raises(ImageError, match=f"has {packed - 1} bytes of pixels where its header asks for {packed}"):
        images.decode(whole(*head, pixels(packed - 1)))


def test_pixels_in_many_chunks_are_all_counted() -> None:
    packed = zlib.compress(bytes(28 * 29))
    parts = [chunk(b"IDAT", packed[n : n + 3]) for n in range(0, len(packed), 3)]
    assert len(parts) > 3
    images.decode(whole(header(*SMALL), *parts))
    with pytest.raises(ImageError, match="damaged or truncated"):
        images.decode(whole(header(*SMALL), *parts[:-3]))


def test_a_scan_is_counted_where_it_is_one() -> None:
    plain, progressive = picture(WIDE, "JPEG"), picture(WIDE, "JPEG", progressive=True)
    assert framing.scans(plain) == 1
    assert framing.scans(progressive) == progressive.count(b"\xff\xda") > 1
    assert framing.scans(picture(WIDE, "JPEG", comment=b"\xff\xda" * 100)) == 1
    assert framing.scans(plain + b"\xff\xda" * 100) == 1
    # What has no length hides none: a decoder passes it by in search of the next restart marker.
    assert framing.scans(plain[:-2] + b"\xff\x02\xff\xff" + b"\xff\xda\x00\x02" * 100 + plain[-2:]) == 101


def test_a_jpeg_with_much_behind_its_end_is_taken() -> None:
    sound = picture(WIDE, "JPEG")
    behind = random.Random(0).randbytes(6_000_000)
    assert behind.count(b"\xff\xda") > images.MAX_SCANS
    assert np.array_equal(images.decode(sound + behind), images.decode(sound))
