"""The files under models/ as they are shipped: sizes, hashes, answers, parity with torch, and the README's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service import manifest as manifests
from service.attacks import fgsm, pgd
from service.catalog import DEFAULT_DEFENSE, Catalog, FloatArray, IntArray, noise
from service.latency import Stopwatch
from service.manifest import Graph
from service.oip.execution import Execution
from service.oip.models import Model, offered
from service.precision import REDUCED, Precision, has_fast_int8
from service.prediction import Defense, Question
from training.gradient_graph import gradient_function
from training.parity import verify_parity
from training.pipeline import freeze
from training.served import current_rows, load_classifier, load_pipeline
from training.tables import summary

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
DATASETS = ("mnist", "fashion-mnist")
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(MODELS, "cpu")


@pytest.fixture(scope="module", params=["fp32", *REDUCED])
def served(request: pytest.FixtureRequest) -> Catalog:
    return Catalog.load(MODELS, "cpu", precision=request.param)


def _samples(catalog: Catalog, dataset: str, n: int) -> tuple[FloatArray, IntArray]:
    samples = catalog.samples(dataset)
    return (samples.images[:n, None] / 255).astype(np.float32), samples.labels[:n]


def _accuracy(logits: FloatArray, labels: IntArray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def test_the_folder_stays_within_its_budget() -> None:
    sizes = {path: path.stat().st_size for path in MODELS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 130 * MEGABYTE
    assert max(sizes.values()) < 50 * MEGABYTE


def test_both_datasets_have_every_graph_and_the_goals_are_met(catalog: Catalog) -> None:
    assert catalog.datasets == DATASETS
    for dataset, goal, loss in (("mnist", 0.994, 0.01), ("fashion-mnist", 0.935, 0.03)):
        classifier = catalog.manifest.graph(dataset, "classifier").accuracy
        pipeline = catalog.manifest.graph(dataset, "pipeline", DEFAULT_DEFENSE).accuracy
        assert classifier is not None
        assert pipeline is not None
        assert classifier.n == pipeline.n == 10_000
        assert classifier.clean_accuracy >= goal
        assert pipeline.clean_accuracy >= classifier.clean_accuracy - loss
        catalog.manifest.graph(dataset, "classifier_gradient")
        catalog.manifest.graph(dataset, "pipeline_gradient", DEFAULT_DEFENSE)


@pytest.mark.parametrize(("dataset", "least"), [("mnist", 0.98), ("fashion-mnist", 0.89)])
def test_samples_are_named_rightly_with_and_without_the_purifier(catalog: Catalog, dataset: str, least: float) -> None:
    images, labels = _samples(catalog, dataset, 200)
    purifier = catalog.purifier(dataset, DEFAULT_DEFENSE)
    assert purifier is not None
    classifier = catalog.classifier(dataset)
    assert _accuracy(classifier.logits(images), labels) >= least
    assert _accuracy(classifier.logits(purifier.purify(images)), labels) >= least - 0.03


@pytest.mark.parametrize(("dataset", "recovered"), [("mnist", 0.9), ("fashion-mnist", 0.7)])
def test_pgd_flips_samples_and_the_purifier_brings_them_back(catalog: Catalog, dataset: str, recovered: float) -> None:
    images, _ = _samples(catalog, dataset, 20)
    classifier = catalog.classifier(dataset)
    answers = classifier.logits(images).argmax(axis=1)
    adv_images = pgd(catalog.white_box(dataset), images, answers, eps=0.15, rng=np.random.default_rng(0)).adv_images
    purifier = catalog.purifier(dataset, DEFAULT_DEFENSE)
    assert purifier is not None
    assert _accuracy(classifier.logits(adv_images), answers) <= 0.05
    assert _accuracy(classifier.logits(purifier.purify(adv_images)), answers) >= recovered


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_answer_does_not_depend_on_the_neighbours_in_its_batch(served: Catalog, dataset: str) -> None:
    images, _ = _samples(served, dataset, 32)
    questions = [Question(image[None], seed) for seed, image in enumerate(images)]
    defense = Defense.of(served, dataset, DEFAULT_DEFENSE)
    alone = [defense.answer([question], Stopwatch())[0] for question in questions]
    for start, size in ((0, 2), (1, 3), (5, 7), (0, 8), (11, 16), (0, 32)):
        together = defense.answer(questions[start : start + size], Stopwatch())
        for one, same in zip(alone[start:], together, strict=False):
            np.testing.assert_array_equal(one.purified, same.purified)
            np.testing.assert_array_equal(one.prediction.probabilities, same.prediction.probabilities)
            np.testing.assert_array_equal(one.undefended.probabilities, same.undefended.probabilities)


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_inference_does_not_depend_on_the_requests_that_it_is_computed_with(catalog: Catalog, dataset: str) -> None:
    images, _ = _samples(catalog, dataset, 20)
    for model in offered(catalog).values():
        # Slow ones are computed one request at a time.
        if model.graph.dataset == dataset and not model.graph.slow:
            execution = Execution(model.name, catalog.sessions.of(model.graph), Counter())
            requests = [_request(model, images[start:end]) for start, end in ((0, 1), (1, 4), (4, 5), (5, 20))]
            together = execution.answer(requests, Stopwatch())
            for request, outputs in zip(requests, together, strict=True):
                (alone,) = execution.answer([request], Stopwatch())
                for name, values in alone.items():
                    np.testing.assert_array_equal(values, outputs[name], err_msg=model.name)


def _request(model: Model, images: Any) -> dict[str, Any]:
    arrays = {"images": images}
    return arrays if model.graph.input("noise") is None else {**arrays, "noise": noise(model.graph, len(images), 7)}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_graph_agrees_with_torch_on_the_shipped_weights(catalog: Catalog, dataset: str) -> None:
    images = torch.from_numpy(_samples(catalog, dataset, 6)[0])
    for graph in catalog.manifest.graphs:
        # A descent of two hundred steps is compared by its export, over ten.
        if graph.dataset == dataset and graph.precision == "fp32" and not graph.slow:
            session = catalog.runtime.open(MODELS / graph.file)
            assert verify_parity(_reference(catalog, graph), session, graph.inputs, images) < 1e-3


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("dataset", DATASETS)
def test_a_reduced_precision_was_made_from_fp32_and_is_as_accurate(
    catalog: Catalog, dataset: str, precision: Precision
) -> None:
    exact, quick = (catalog.manifest.graph(dataset, "classifier", precision=name) for name in ("fp32", precision))
    assert exact.accuracy is not None
    assert quick.accuracy is not None
    assert quick.accuracy.n == 10_000
    assert abs(quick.accuracy.clean_accuracy - exact.accuracy.clean_accuracy) <= 0.003
    # Made from the very classifier that is shipped beside it.
    assert quick.training["quantized_from"] == exact.sha256


@pytest.mark.skipif(not has_fast_int8(), reason="not served where the processor has no dot products of int8")
@pytest.mark.parametrize("dataset", DATASETS)
def test_int8_answers_as_fp32_also_under_attack(catalog: Catalog, dataset: str) -> None:
    images, labels = _samples(catalog, dataset, 40)
    adv_images = fgsm(catalog.white_box(dataset), images, labels, eps=0.6).adv_images
    for batch in (images, adv_images):
        answers = [
            catalog.classifier(dataset, precision=name).logits(batch).argmax(axis=1) for name in ("fp32", "int8")
        ]
        assert (answers[0] != answers[1]).sum() <= 1


def _reference(catalog: Catalog, graph: Graph) -> Callable[..., Any]:
    if graph.kind.startswith("classifier"):
        module = load_classifier(MODELS, catalog.manifest, graph.dataset, graph.defense)
    else:
        pipeline = load_pipeline(MODELS, catalog.manifest, graph.dataset, graph.defense)
        module = pipeline.purifier if graph.kind == "purifier" else pipeline
    return gradient_function(freeze(module)) if "gradient" in graph.kind else freeze(module)


def test_the_readme_shows_the_rows_of_results_csv() -> None:
    table = summary(current_rows(MODELS, manifests.read(MODELS)), DATASETS)
    assert table in (ROOT / "README.md").read_text()


def test_a_seed_draws_the_same_noise_and_another_seed_another(catalog: Catalog) -> None:
    graph = catalog.manifest.graph("mnist", "purifier", DEFAULT_DEFENSE)
    np.testing.assert_array_equal(noise(graph, 2, 5), noise(graph, 2, 5))
    assert not np.array_equal(noise(graph, 2, 5), noise(graph, 2, 6))
    assert not noise(graph, 2, None).any()
