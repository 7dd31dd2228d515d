"""Every kind of picture becomes the image that it shows, and everything else an ImageError."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service import images
from service.errors import ImageError
from service.settings import Settings
from tests.service.asking import Array, picture, png

RAMP = (np.arange(784) % 256).astype(np.uint8).reshape(28, 28)
BLACK_AND_WHITE = np.where(RAMP > 100, 255, 0).astype(np.uint8)


def decoded(data: bytes) -> Array:
    image: Array = images.decode(data)
    assert image.shape == (1, 1, 28, 28)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    pixels: Array = image[0, 0]
    return pixels


def test_a_grey_28x28_image_passes_unchanged_bit_for_bit() -> None:
    assert np.array_equal(decoded(png(RAMP)), RAMP.astype(np.float32) / np.float32(255))
    assert images.encode_png(images.decode(png(RAMP))) == images.encode_png(images.from_bytes(RAMP))


def test_what_was_encoded_comes_back_as_its_rounded_self() -> None:
    drawn = np.random.default_rng(0).random((1, 1, 28, 28), dtype=np.float32)
    assert np.array_equal(images.decode(images.encode_png(drawn)), images.rounded(drawn))
    assert np.abs(images.rounded(drawn) - drawn).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_an_opaque_grey_picture_is_the_same_in_every_mode(mode: str) -> None:
    assert np.array_equal(decoded(png(RAMP, mode)), decoded(png(RAMP)))


def test_one_bit_is_black_and_white() -> None:
    assert np.array_equal(decoded(png(BLACK_AND_WHITE, "1")), BLACK_AND_WHITE / np.float32(255))


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = (np.arange(784) * 83).astype(np.uint16).reshape(28, 28)
    assert np.array_equal(decoded(png(deep)), deep.astype(np.float32) / np.float32(65535))


def test_sixteen_bit_grey_keeps_its_transparent_value_black() -> None:
    deep = np.full((28, 28), 60_000, np.uint16)
    deep[:14] = 1000
    plain = png(deep)
    shown = decoded(_with_chunk(plain, b"tRNS", struct.pack(">H", 60_000)))
    assert np.all(shown[14:] == 0)
    assert np.all(shown[:14] > 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_black(mode: str) -> None:
    opaque = Image.fromarray(RAMP).convert(mode)
    opaque.putalpha(Image.fromarray(BLACK_AND_WHITE))
    expected = np.where(BLACK_AND_WHITE == 255, RAMP, 0) / np.float32(255)
    assert np.array_equal(decoded(picture(opaque)), expected)


def test_half_transparent_is_half_as_bright() -> None:
    grey = Image.fromarray(np.full((28, 28), 200, np.uint8)).convert("RGBA")
    grey.putalpha(128)
    assert np.allclose(decoded(picture(grey)), 200 / 255 * 128 / 255, atol=1 / 255)


def test_the_transparent_colour_of_a_palette_is_black() -> None:
    palette = Image.fromarray(BLACK_AND_WHITE).convert("P")
    white = int(np.asarray(palette).max())
    assert np.all(decoded(picture(palette, transparency=white)) == 0)


def test_the_transparent_colour_of_rgb_is_black() -> None:
    rgb = Image.fromarray(BLACK_AND_WHITE).convert("RGB")
    assert np.all(decoded(picture(rgb, transparency=(255, 255, 255))) == 0)


def test_colours_become_luminance() -> None:
    green = Image.new("RGB", (28, 28), (0, 255, 0))
    assert np.allclose(decoded(picture(green)), 0.587, atol=1 / 255)


def test_a_cmyk_jpeg_shows_what_its_rgb_shows() -> None:
    grey = Image.fromarray(np.full((28, 28), 180, np.uint8))
    cmyk = picture(grey.convert("RGB").convert("CMYK"), "JPEG", quality=95)
    assert np.allclose(decoded(cmyk), 180 / 255, atol=3 / 255)


def test_a_jpeg_is_read() -> None:
    grey = Image.fromarray(np.full((28, 28), 180, np.uint8))
    assert np.allclose(decoded(picture(grey, "JPEG")), 180 / 255, atol=2 / 255)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.fromarray(np.full((28, 28), value, np.uint8)) for value in (50, 200)]
    assert np.allclose(decoded(picture(frames[0], save_all=True, append_images=frames[1:])), 50 / 255)


def test_the_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = decoded(picture(Image.fromarray(RAMP), exif=exif))
    assert np.array_equal(turned, np.rot90(RAMP, -1) / np.float32(255))


@pytest.mark.parametrize("broken", [b"", b"garbage!", b"II*\x00\xff\xff\xff\x7f", b"MM\x00*\x00\x00\x00\x08\xff\xff"])
def test_broken_exif_does_not_spoil_a_sound_picture(broken: bytes) -> None:
    assert np.array_equal(decoded(_with_chunk(png(RAMP), b"eXIf", broken)), RAMP / np.float32(255))


def _with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with a chunk before its pixels."""
    chunk = name + content
    place = data.index(b"IDAT") - 4
    framed = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:place] + framed + data[place:]


def test_sixteen_bit_rgba_noise_of_the_largest_size_is_taken_by_the_default_limit() -> None:
    side = images.MAX_SIDE
    noise = np.random.default_rng(0).integers(0, 256, (side, 8 * side), dtype=np.uint8)
    rows = np.concatenate([np.zeros((side, 1), np.uint8), noise], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    framed = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(framed)
    assert len(data) <= Settings().max_body_bytes
    decoded(data)


def test_a_wide_picture_is_padded_with_black_to_a_centred_square() -> None:
    shown = decoded(png(np.full((14, 28), 255, np.uint8)))
    assert np.all(shown[7:21] == 1)
    assert np.all(shown[:7] == 0)
    assert np.all(shown[21:] == 0)


@pytest.mark.parametrize("side", [112, 100, 42, 29, 20])
def test_each_pixel_is_the_mean_of_the_pixels_whose_centres_it_covers(side: int) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (side, side)).astype(np.uint8)
    assert np.allclose(decoded(png(drawn)), _means(_means(drawn / 255).T).T, atol=1e-6)


def _means(rows: Array) -> Array:
    side = len(rows)
    centres = (np.arange(side) + 0.5) * 28 / side
    covering = np.ceil(centres) - 1  # of a centre on a border, the upper one
    nearest = ((np.arange(28) + 0.5) * side / 28 - 1e-9).astype(int)
    means = [rows[covering == row] if side > 28 else rows[[nearest[row]]] for row in range(28)]
    return np.stack([covered.mean(axis=0) for covered in means])


@pytest.mark.parametrize("size", [(1, 1), (1, 2048), (2048, 2048), (29, 27)])
def test_any_size_up_to_the_limit_is_taken(size: tuple[int, int]) -> None:
    # White padded with black: but for whole pixels at the edges, the filter keeps the mean, the share of white.
    share = size[0] * size[1] / max(size) ** 2
    assert decoded(picture(Image.new("L", size, 255))).mean() == pytest.approx(share, rel=0.02)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


NOISY = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
HUGE = picture(Image.new("1", (9400, 9400)))
NOT_IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", "0 bytes"),
    "text": (lambda: b"<!doctype html><title>hello</title>", "not a readable image"),
    "zeros": (lambda: bytes(1000), "not a readable image"),
    "a signature alone": (lambda: b"\x89PNG\r\n\x1a\n", "not a readable image"),
    "another format": (lambda: picture(Image.new("L", (28, 28)), "GIF"), "not a readable image"),
    "half a PNG": (lambda: _cut(NOISY), "damaged or truncated"),
    "half a JPEG": (lambda: _cut(picture(Image.open(io.BytesIO(NOISY)), "JPEG")), "damaged or truncated"),
    "a PNG with broken pixels": (lambda: NOISY[:200] + bytes(100) + NOISY[300:], "damaged or truncated"),
    "one pixel too wide": (
        lambda: picture(Image.new("1", (2049, 1))),
        "2049 x 1 pixels; allowed: at most 2048",
    ),
    "a bomb below Pillow's limit": (lambda: HUGE, "9400 x 9400 pixels"),
    "a bomb of which Pillow warns": (lambda: _with_size(HUGE, 11_000, 11_000), "11000 x 11000 pixels; allowed"),
    "a bomb above Pillow's limit": (lambda: _with_size(HUGE, 14_000, 14_000), "14000 x 14000 pixels; allowed"),
    "a JPEG above Pillow's limit": (lambda: _jpeg_of_size(14_000, 15_000), "14000 x 15000 pixels; allowed"),
}


def _with_size(data: bytes, width: int, height: int) -> bytes:
    """The PNG with another size in its header, and the checksum that goes with it."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _jpeg_of_size(width: int, height: int) -> bytes:
    data = picture(Image.new("L", (8, 8)), "JPEG")
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_not_an_image_is_an_image_error(name: str) -> None:
    build, fragment = NOT_IMAGES[name]
    with pytest.raises(ImageError, match=fragment):
        images.decode(build())


def test_no_damage_is_anything_but_an_image_error() -> None:
    rng = np.random.default_rng(0)
    refused, taken = 0, 0
    for original in (NOISY, picture(Image.open(io.BytesIO(NOISY)), "JPEG"), png(RAMP, "P")):
        for _ in range(150):
            damaged = bytearray(original)
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = rng.integers(0, 256)
            try:
                pixels = decoded(bytes(damaged))
            except ImageError:
                refused += 1
                continue
            taken += 1
            assert pixels.shape[-2:] == (28, 28)
            assert 0 <= pixels.min() <= pixels.max() <= 1
    assert refused > 0
    assert taken > 0


def test_a_bomb_is_small_on_the_wire() -> None:
    assert len(HUGE) < 20_000
