"""What the models say of an image: purify it, classify it with and without, compare. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.catalog import Catalog, Classifier, FloatArray, Purifier
from service.latency import Stopwatch
from service.precision import Precision


@dataclass(frozen=True)
class Prediction:
    """One answer of a classifier: probabilities (10,) that sum to 1."""

    probabilities: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def label(self) -> int:
        """The most probable class; the lower one of two that are exactly as probable."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """The probability of `label`."""
        return float(self.probabilities.max())

    def cross_entropy(self, label: int) -> float:
        """-log of the label's probability; at most 708, where a float64 ends."""
        # Subtracted from 0.0, since the negative of log(1) is -0.0.
        return float(0.0 - np.log(max(self.probabilities[label], np.finfo(np.float64).tiny)))


@dataclass(frozen=True)
class Question:
    """An image (1, 1, 28, 28), and the seed of the purifier's noise on it; without a seed that is zero."""

    image: FloatArray
    seed: int | None


@dataclass(frozen=True)
class Evidence:
    """What a defense changed: the image, by so much in pixels of [0, 1], and perhaps the answer."""

    residual_l2: float
    residual_linf: float
    disagreement: bool


@dataclass(frozen=True)
class Defended:
    """An image behind a defense: `purified` (1, 1, 28, 28), both answers, and the evidence."""

    purified: FloatArray
    prediction: Prediction
    undefended: Prediction
    evidence: Evidence

    @classmethod
    def of(cls, image: FloatArray, purified: FloatArray, prediction: Prediction, undefended: Prediction) -> Defended:
        """Both answers to an image and its purified self, compared."""
        residual = (purified - image).astype(np.float64)
        evidence = Evidence(
            residual_l2=float(np.sqrt(np.sum(residual**2))),
            residual_linf=float(np.max(np.abs(residual))),
            disagreement=prediction.label != undefended.label,
        )
        return cls(purified, prediction, undefended, evidence)

    @property
    def shift(self) -> float:
        """How far the two answers are apart, in [0, 1]: the total variation distance of their probabilities."""
        return float(np.abs(self.prediction.probabilities - self.undefended.probabilities).sum() / 2)


@dataclass(frozen=True)
class Defense:
    """A purifier before the plain classifier, or another classifier in its place, or neither ('none').

    `plain` answers undefended, `classifier` what `purifier` (None: nothing) lets through.
    """

    plain: Classifier
    purifier: Purifier | None
    classifier: Classifier

    @classmethod
    def of(cls, catalog: Catalog, dataset: str, defense: str, precision: Precision | None = None) -> Defense:
        """The defense of that name for a data set; its classifiers as served unless a precision is named.

        Raises:
            ParameterError: the data set or the defense is unknown.
        """
        plain = catalog.classifier(dataset, precision=precision)
        return cls(plain, catalog.purifier(dataset, defense), catalog.classifier(dataset, defense, precision))

    @property
    def models(self) -> dict[str, str]:
        """The graphs in use: name to SHA-256."""
        used = (self.purifier, self.classifier, self.plain)
        return {part.graph.name: part.graph.sha256 for part in used if part is not None}

    @property
    def slow(self) -> bool:
        """Whether an image takes tenths of a second or more."""
        return any(part is not None and part.graph.slow for part in (self.purifier, self.classifier))

    def purify(self, images: FloatArray, seed: int | None, stopwatch: Stopwatch) -> FloatArray:
        """Purified images (N, 1, 28, 28); without a purifier the images themselves, which takes no time."""
        if self.purifier is None:
            stopwatch.add("purify", 0.0)
            return images
        with stopwatch.stage("purify"):
            return self.purifier.purify(images, seed)

    def answer(self, questions: Sequence[Question], stopwatch: Stopwatch) -> list[Defended]:
        """Purify and classify with and without; one answer per question.

        An answer depends on its own image and seed alone, whatever else is in the batch: on a CPU to the bit, on a GPU
        as far as its kernels for different batch sizes agree.
        """
        images = np.concatenate([question.image for question in questions])
        if self.purifier is None:
            stopwatch.add("purify", 0.0)
            purified = images
        else:
            with stopwatch.stage("purify"):
                purified = self.purifier.purify_each(images, [question.seed for question in questions])
        undefended, defended = self.classify(images, purified, stopwatch)
        return [
            Defended.of(question.image, purified[n : n + 1], defended[n], undefended[n])
            for n, question in enumerate(questions)
        ]

    def classify(
        self, images: FloatArray, purified: FloatArray, stopwatch: Stopwatch
    ) -> tuple[list[Prediction], list[Prediction]]:
        """The answers to images (N, 1, 28, 28) undefended, and to what the purifier made of them defended.

        In one batch where one classifier gives both.
        """
        with stopwatch.stage("classify"):
            if self.classifier.graph.name != self.plain.graph.name:
                return predict(self.plain, images), predict(self.classifier, purified)
            if self.purifier is None:
                predictions = predict(self.plain, images)
                return predictions, predictions
            predictions = predict(self.plain, np.concatenate([images, purified]))
            return predictions[: len(images)], predictions[len(images) :]


def predict(classifier: Classifier, images: FloatArray) -> list[Prediction]:
    """One prediction per image (N, 1, 28, 28)."""
    logits = classifier.logits(images).astype(np.float64)
    unscaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return [Prediction(row) for row in unscaled / unscaled.sum(axis=1, keepdims=True)]
