"""Our models as estimators of the Adversarial Robustness Toolbox (ART), so that its attacks run on them.

`gradient_classifier` looks through an ONNX graph and its gradient, `black_box_classifier` at the answers of a running
service. Needs the extra `art`; no torch. Not in `service`, which must not need ART.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import numpy as np
from art.estimators.classification import BlackBoxClassifier
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin

from service.attacks import WhiteBox
from service.catalog import FloatArray
from service.images import encode_png

CLASSES = 10
INPUT_SHAPE = (1, 28, 28)
_BOUNDS = (0.0, 1.0)
_OK = 200
Send = Callable[[bytes], dict[str, Any]]


class GradientClassifier(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier or pipeline with its gradient, as `service.catalog.Catalog.white_box` gives it. Predicts logits."""

    estimator_params = BaseEstimator.estimator_params
    channels_first = True

    def __init__(self, white_box: WhiteBox) -> None:
        super().__init__(model=white_box, clip_values=_BOUNDS)
        self.nb_classes = CLASSES
        self._white_box = white_box

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image."""
        return INPUT_SHAPE

    def predict(self, x: FloatArray, batch_size: int = 64, **_: Any) -> FloatArray:
        """Logits (N, 10)."""
        parts = [
            self._white_box.logits(_float32(x[start : start + batch_size])) for start in range(0, len(x), batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, CLASSES), np.float32)

    def loss_gradient(self, x: FloatArray, y: Any, **_: Any) -> FloatArray:
        """The gradient of the cross-entropy by images x, to classes y: numbers (N,) or (N, 1), or one-hot (N, 10)."""
        classes = np.asarray(y)
        classes = classes.argmax(axis=1) if classes.ndim > 1 and classes.shape[1] > 1 else classes.reshape(-1)
        gradient: FloatArray = self._white_box.loss_gradient(_float32(x), classes.astype(np.int64))[1]
        return gradient

    def class_gradient(self, x: FloatArray, label: Any = None, **_: Any) -> FloatArray:
        """The gradients of the logits: of all (N, 10, ...), or of one class an image (N, 1, ...)."""
        images = _float32(x)
        wanted = range(CLASSES) if label is None else [np.broadcast_to(np.asarray(label), (len(images),))]
        each = [self._of_class(images, np.broadcast_to(one, (len(images),))) for one in wanted]
        return np.stack(each, axis=1)

    def _of_class(self, images: FloatArray, classes: np.ndarray[Any, Any]) -> FloatArray:
        cotangent = np.eye(CLASSES, dtype=np.float32)[classes]
        gradient: FloatArray = self._white_box.vector_jacobian(images, cotangent)[1]
        return gradient

    def fit(self, x: Any, y: Any, **_: Any) -> None:
        """Not to be had: the weights are fixed.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a shipped model cannot be fitted; allowed: predict and the gradients")


def black_box_classifier(send: Send) -> Any:
    """An ART `BlackBoxClassifier` over POST /classify; predicts probabilities. `send`: PNG to the answer's JSON.

    A PNG has 256 grey levels: what the service sees is rounded to them.
    """

    def predict(images: FloatArray) -> FloatArray:
        return np.array([send(encode_png(image[None]))["probabilities"] for image in _float32(images)], np.float32)

    classifier = BlackBoxClassifier(predict, INPUT_SHAPE, CLASSES, clip_values=_BOUNDS)
    classifier.channels_first = True  # which some attacks ask for, and the class does not know
    return classifier


class ServiceConnection:
    """Sends pictures to POST /classify of a running service over one connection. A `Send`."""

    def __init__(self, url: str, *, dataset: str, defense: str, key: str | None = None, timeout_s: float = 30) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=timeout_s)
        self._path = f"{parts.path.rstrip('/')}/classify?{urlencode({'dataset': dataset, 'defense': defense})}"
        self._headers = {"Content-Type": "image/png", **authorization(key)}
        self.requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __call__(self, png: bytes) -> dict[str, Any]:
        """The answer to one picture.

        Raises:
            RuntimeError: the service refuses it; the message is the service's.
            OSError: the service cannot be reached.
        """
        self.requests += 1
        self._connection.request("POST", self._path, png, self._headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != _OK:
            raise RuntimeError(f"the service answered {response.status}: {answer.get('detail')}")
        return answer


def authorization(key: str | None) -> dict[str, str]:
    """The header that carries an API key; none without one."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _float32(images: Any) -> FloatArray:
    return np.ascontiguousarray(images, dtype=np.float32)
