"""A defended answer holds both answers and says what purification changed."""

from __future__ import annotations

import numpy as np
import pytest

from service.catalog import Catalog
from service.images import from_bytes
from service.latency import Stopwatch
from service.prediction import Defense, Prediction, Question, predict
from tests.service.tiny_models import image_of


def test_probabilities_are_the_softmax_of_the_logits(catalog: Catalog) -> None:
    classifier = catalog.classifier("mnist")
    image = from_bytes(image_of("mnist", 4))[None, None]
    (prediction,) = predict(classifier, image)
    logits = classifier.logits(image)[0].astype(np.float64)
    assert np.allclose(prediction.probabilities, np.exp(logits) / np.exp(logits).sum())
    assert prediction.label == 4
    assert prediction.confidence == prediction.probabilities[4]


def test_the_cross_entropy_of_a_sure_answer_is_zero_and_not_minus_zero() -> None:
    sure = Prediction(np.array([1.0, *9 * [0.0]]))
    assert str(sure.cross_entropy(0)) == "0.0"
    assert sure.cross_entropy(1) == pytest.approx(708, abs=1)


def test_the_evidence_is_the_difference_that_purification_made(catalog: Catalog) -> None:
    image = from_bytes(image_of("mnist", 4))[None, None]
    stopwatch = Stopwatch()
    (defended,) = Defense.of(catalog, "mnist", "autoencoder").answer([Question(image, None)], stopwatch)
    residual = defended.purified - image
    assert defended.evidence.residual_l2 == pytest.approx(np.linalg.norm(residual), rel=1e-5)
    assert defended.evidence.residual_linf == pytest.approx(np.abs(residual).max())
    assert not defended.evidence.disagreement
    assert {"purify", "classify"} <= set(stopwatch.read_ms())


def test_the_answers_disagree_where_the_purifier_changes_the_label(catalog: Catalog) -> None:
    faint = from_bytes(image_of("mnist", 4, background=90, band=110))[None, None]
    (defended,) = Defense.of(catalog, "mnist", "autoencoder").answer([Question(faint, None)], Stopwatch())
    assert (defended.undefended.label, defended.prediction.label) == (4, 3)
    assert defended.evidence.disagreement


def test_both_answers_are_those_of_the_images_classified_alone(catalog: Catalog) -> None:
    image = from_bytes(image_of("mnist", 4))[None, None]
    defense = Defense.of(catalog, "mnist", "autoencoder")
    (defended,) = defense.answer([Question(image, 7)], Stopwatch())
    alone = [predict(defense.classifier, side)[0] for side in (image, defended.purified)]
    assert np.array_equal(alone[0].probabilities, defended.undefended.probabilities)
    assert np.array_equal(alone[1].probabilities, defended.prediction.probabilities)


def test_a_classifier_in_the_plain_ones_place_answers_beside_it(catalog: Catalog) -> None:
    image = from_bytes(image_of("mnist", 0))[None, None]
    defense = Defense.of(catalog, "mnist", "distillation")
    (defended,) = defense.answer([Question(image, 7)], Stopwatch())
    assert (defended.undefended.label, defended.prediction.label) == (0, 1)
    assert (defended.evidence.residual_l2, defended.evidence.disagreement) == (0, True)
    assert list(defense.models) == ["mnist-classifier-distillation", "mnist-classifier"]


def test_no_defense_changes_nothing(catalog: Catalog) -> None:
    image = from_bytes(image_of("mnist", 4))[None, None]
    defense = Defense.of(catalog, "mnist", "none")
    (defended,) = defense.answer([Question(image, 7)], Stopwatch())
    assert np.array_equal(defended.purified, image)
    assert defended.prediction is defended.undefended
    assert (defended.evidence.residual_l2, defended.evidence.residual_linf) == (0, 0)
    assert not defended.evidence.disagreement
    assert list(defense.models) == ["mnist-classifier"]
