"""Whatever bytes a decoder gets, it gives an image within the contract or our error, soon and in bounded memory."""

from __future__ import annotations

import resource
import struct
import time
import zlib
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import ImageError
from service.images import decode, is_small
from tests.service.asking import picture
from tests.service.tiny_models import image_of

THREE = Image.fromarray(image_of("mnist", 3))
SOUND = [
    *(picture(THREE.convert(mode)) for mode in ("L", "1", "P", "LA", "RGB", "RGBA", "I;16")),
    picture(THREE, save_all=True, append_images=[THREE]),
    *(picture(THREE.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")),
    picture(THREE, "JPEG", progressive=True),
]
FOREIGN = [picture(THREE.convert("RGB"), kind) for kind in ("GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "PCX", "TGA")]
SOON_S = 5
SIGNATURE = b"\x89PNG\r\n\x1a\n"
unhurried = settings(deadline=None, max_examples=150, derandomize=True, database=None)


def assert_image_or_our_error(data: bytes, memory_kib: int = 400 * 1024) -> bool:
    """Whether it is an image. By default it may take what a picture of the largest size does, several times over."""
    memory, began = _peak_kib(), time.process_time()
    is_small(data)
    try:
        image = decode(data)
    except ImageError:
        return False
    finally:
        assert time.process_time() - began < SOON_S
        assert _peak_kib() - memory < memory_kib
    assert image.shape == (1, 1, 28, 28)
    assert image.dtype == np.float32
    assert ((image >= 0) & (image <= 1)).all()
    return True


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@unhurried
@given(st.binary(max_size=400), st.sampled_from([b"", SIGNATURE, b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"II*\0"]))
def test_any_bytes(data: bytes, signature: bytes) -> None:
    assert_image_or_our_error(signature + data)


@unhurried
@given(st.data())
def test_any_change_of_a_sound_picture(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(SOUND)))
    # Most in the first bytes, where the headers are.
    places = st.integers(0, min(60, len(changed) - 1)) | st.integers(0, len(changed) - 1)
    for place in data.draw(st.lists(places, max_size=6)):
        changed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    assert_image_or_our_error(bytes(changed[:cut]))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


SIZES = st.integers(0, 40) | st.sampled_from([64, 2048, 2049, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
KINDS = st.sampled_from(
    [b"PLTE", b"tRNS", b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf", b"pHYs", b"acTL", b"fcTL", b"fdAT"]
)
PACKED = st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: b"a\0\0" + zlib.compress(data))


@unhurried
@given(
    st.tuples(SIZES, SIZES, st.sampled_from([1, 2, 4, 8, 16, 0, 255]), st.sampled_from([0, 2, 3, 4, 6, 1, 255])),
    st.tuples(*[st.sampled_from([0, 1, 255])] * 2, st.sampled_from([0, 1, 2])),
    st.lists(st.tuples(KINDS, PACKED), max_size=3),
    st.binary(max_size=300) | st.just(bytes(3000)),
)
def test_any_png_of_sound_checksums(
    head: tuple[int, ...], ways: tuple[int, ...], extras: list[tuple[bytes, bytes]], pixels: bytes
) -> None:
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *head, *ways)), *(chunk(*extra) for extra in extras)]
    assert_image_or_our_error(
        SIGNATURE + b"".join([*parts, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")])
    )


@cache
def zeros() -> bytes:
    """200 MB, compressed; made bit by bit, since all at once they would hide from the peak what they take later."""
    packer = zlib.compressobj()
    return b"".join([packer.compress(bytes(1_000_000)) for _ in range(200)]) + packer.flush()


BOMBS = {
    "pixels": (b"IDAT", b""),
    "text": (b"zTXt", b"a\0\0"),
    "international text": (b"iTXt", b"a\0\1\0\0\0"),
    "a colour profile": (b"iCCP", b"a\0\0"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_not_unpacked(name: str) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(29 * 28)))
    kind, start = BOMBS[name]
    bomb = chunk(kind, start + zeros())
    assert_image_or_our_error(SIGNATURE + head + bomb + pixels + chunk(b"IEND", b""), memory_kib=50 * 1024)


def test_a_jpeg_of_many_passes_is_not_decoded() -> None:
    sound = picture(Image.new("L", (2048, 2048)), "JPEG", progressive=True)
    last_scan = sound[sound.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="has 50006 scans; allowed: at most 64"):
        decode(sound[:-2] + 50_000 * last_scan + sound[-2:])
    assert assert_image_or_our_error(sound[:-2] + 58 * last_scan + sound[-2:])


@pytest.mark.parametrize("data", FOREIGN, ids=lambda data: data[:4].hex())
def test_other_formats_are_refused_whole_and_changed(data: bytes) -> None:
    for cut in (len(data), len(data) // 2, 20):
        assert not assert_image_or_our_error(data[:cut])
        assert not assert_image_or_our_error(SIGNATURE + data[:cut])


def test_the_pictures_that_are_changed_above_are_sound() -> None:
    assert all(assert_image_or_our_error(data) for data in SOUND)
