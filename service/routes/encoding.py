"""Our nouns as the wire contract's: what several routes answer with."""

from __future__ import annotations

import base64

from fastapi import Request, Response

from service import images
from service.attempt import View
from service.catalog import FloatArray
from service.negotiation import choose
from service.prediction import Defended, Prediction
from service.schemas.answers import EvidenceAnswer, PictureAnswer, Verdict

PNG, JSON = "image/png", "application/json"
ClassNames = tuple[str, ...]


def accepted(request: Request, offers: tuple[str, ...]) -> str:
    """The media type to answer with; the first offer where the client has no preference.

    Raises:
        NotAcceptableError: the client wants none of them.
    """
    return choose(request.headers.get("accept"), offers)


def verdict(prediction: Prediction, class_names: ClassNames) -> Verdict:
    """A prediction with its class name."""
    return Verdict(label=prediction.label, class_name=class_names[prediction.label], confidence=prediction.confidence)


def picture(view: View, class_names: ClassNames) -> PictureAnswer:
    """An image with its prediction."""
    return PictureAnswer(
        image_png=png_base64(view.image),
        probabilities=tuple(view.prediction.probabilities.tolist()),
        **dict(verdict(view.prediction, class_names)),
    )


def evidence(defended: Defended) -> EvidenceAnswer:
    """The evidence of a defended answer."""
    return EvidenceAnswer(**vars(defended.evidence))


def png_base64(image: FloatArray) -> str:
    """The image's PNG in base64."""
    return base64.b64encode(images.encode_png(image)).decode("ascii")


def png_response(image: FloatArray, headers: dict[str, str]) -> Response:
    """The image as an answer of its own."""
    return Response(images.encode_png(image), media_type=PNG, headers=headers)


def flag(value: bool) -> str:
    """A truth value as a header carries it."""
    return "true" if value else "false"
