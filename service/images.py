"""Bytes to images and back: the one place where a picture becomes what the models see. Knows no HTTP.

A PNG or JPEG of any size up to 2048 x 2048 becomes float32 (1, 1, 28, 28) in [0, 1], in this order:

1. the first frame of an animation, turned as its EXIF orientation says, if that can be read;
2. transparency laid over **black**, because black is the background of both data sets;
3. luminance (ITU-R 601), 16-bit grey scaled by 65535, everything else by 255;
4. padded with black to a centred square;
5. resized to 28 x 28 with Pillow's box filter: each pixel is the plain mean of the whole pixels whose centres it
   covers (a centre on a border counts to the left of it, or above), and in a smaller picture the nearest pixel. So it
   is the mean of the area where the side is a multiple of 28, and close to that in large pictures.

Steps 1 to 3 round to 8 bits wherever there is colour or alpha: Pillow reads 16-bit colour and 16-bit grey with
alpha as 8 bits, and what is laid over black, and its luminance, are rounded to 8 bits each. 16-bit grey keeps
its 16 bits. Steps 4 and 5 run in float32, without rounding in between; a grey 28 x 28 image of 8 bits passes
unchanged, bit for bit. The polarity is not guessed: bright strokes on black are expected, and a scan of ink on
paper must be inverted first.

A damaged picture is refused wherever that can be told; see `service.framing` for where it cannot.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from service import framing
from service.errors import ImageError

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
SIZE = 28
MAX_SIDE = 2048
# Of a JPEG: encoders write a dozen at most, and each costs a pass over all pixels, though it may be of 16 bytes alone.
MAX_SCANS = 64
_SCAN = b"\xff\xda"
# Bytes count too, since a PNG may hold compressed text beside its pixels.
_SMALL_SIDE, _FEW_BYTES = 64, 4096
# Opened by themselves and not by Image.open, which refuses or warns of bombs without telling their size.
_FORMATS: dict[bytes, Callable[[IO[bytes]], Image.Image]] = {
    framing.PNG: PngImageFile,
    framing.JPEG: JpegImageFile,
}
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def decode(data: bytes) -> FloatArray:
    """The picture as images (1, 1, 28, 28), float32 in [0, 1].

    Raises:
        ImageError: it is empty, not a PNG or JPEG, damaged, larger than 2048 x 2048, or a JPEG of more than 64 scans.
    """
    if not data:
        raise ImageError("the image has 0 bytes; send a PNG or JPEG")
    luminance = _luminance(_open(data))
    return _resized(_squared(luminance))[None, None]


def is_small(data: bytes) -> bool:
    """Whether decoding takes a fraction of a millisecond: a PNG of few bytes that says that it is 64 x 64 at most.

    Its size stands at one place: a PNG that tells another one elsewhere is refused before its pixels are unpacked.
    """
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return len(data) <= _FEW_BYTES and data.startswith(framing.PNG) and max(width, height) <= _SMALL_SIDE


def encode_png(image: FloatArray) -> bytes:
    """An 8-bit grey PNG of one image (..., 28, 28) in [0, 1]: round(255 x)."""
    buffer = io.BytesIO()
    Image.fromarray(_to_bytes(image).reshape(SIZE, SIZE)).save(buffer, format="PNG")
    return buffer.getvalue()


def rounded(images: FloatArray) -> FloatArray:
    """The images as they come back from their own PNGs: each pixel the nearest multiple of 1/255."""
    return from_bytes(_to_bytes(images))


def from_bytes(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> FloatArray:
    """float32 in [0, 1] of pixels 0 to 255, of the same shape."""
    return pixels.astype(np.float32) / np.float32(255)


def _to_bytes(images: FloatArray) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _open(data: bytes) -> Image.Image:
    """The decoded picture, upright, of a mode that NumPy can read as luminance: L, or 16-bit grey."""
    # Pillow's decoders raise whatever they stumble over in hostile bytes (OSError, SyntaxError, struct.error,
    # zlib.error, KeyError, ...), hence the broad clause around nothing but Pillow.
    if data.startswith(tuple(_FORMATS)):
        framing.check_pieces(data)
    try:
        kind = next(kind for signature, kind in _FORMATS.items() if data.startswith(signature))
        image = kind(io.BytesIO(data))
    except Exception as error:
        raise ImageError(f"the {len(data)} bytes are not a readable image; allowed: PNG and JPEG") from error
    # The size stands in the header: a bomb is refused before any pixel is unpacked.
    if max(image.size) > MAX_SIDE:
        width, height = image.size
        raise ImageError(f"the image is {width} x {height} pixels; allowed: at most {MAX_SIDE} x {MAX_SIDE}")
    _check_framing(data)
    try:
        image.load()
        return _grey(_upright(image))
    except Exception as error:
        raise ImageError(f"the {image.format} image is damaged or truncated and cannot be decoded") from error


def _check_framing(data: bytes) -> None:
    if data.startswith(framing.PNG):
        framing.check_png(data)
    # The bytes of a scan's marker may be others too, in a text or behind the end; rarely enough to look only then.
    elif data.count(_SCAN) > MAX_SCANS and (scans := framing.scans(data)) > MAX_SCANS:
        raise ImageError(f"the JPEG image has {scans} scans; allowed: at most {MAX_SCANS}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # Broken EXIF says nothing about the pixels, which are loaded.
        return image


def _grey(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba)
    return image.convert("L") if image.mode in {"L", "1"} else image.convert("RGB").convert("L")


def _luminance(image: Image.Image) -> FloatArray:
    """Luminance (height, width), float32 in [0, 1]."""
    if image.mode == "L":
        return from_bytes(np.asarray(image))
    pixels = np.asarray(image).astype(np.float32) / np.float32(65535)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[np.asarray(image) == transparent] = 0
    return pixels


def _squared(luminance: FloatArray) -> FloatArray:
    height, width = luminance.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), np.float32)
    square[top : top + height, left : left + width] = luminance
    return square


def _resized(square: FloatArray) -> FloatArray:
    if square.shape == (SIZE, SIZE):
        return square
    resized = Image.fromarray(square).resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.clip(np.asarray(resized, dtype=np.float32), 0, 1)
