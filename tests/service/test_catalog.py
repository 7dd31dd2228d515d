"""The catalogue gives verified, warm models, whose noise is what the seed says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import manifest as manifests
from service.attacks.white_box import cross_entropy
from service.catalog import Catalog, noise
from service.errors import ManifestError, ParameterError
from service.images import from_bytes
from service.inference import Session, Tensors
from service.prediction import Defense
from service.settings import Settings
from service.victims import GradientModel
from tests.service.asking import Array
from tests.service.tiny_models import BAND, BOOST, CONTRAST, NOISE, SCALE, image_of


def batch(dataset: str = "mnist", n: int = 8) -> Array:
    drawn = np.random.default_rng(1).integers(60, 160, (n, 1, 28, 28)).astype(np.uint8)
    drawn[0, 0] = image_of(dataset, 3)
    return from_bytes(drawn)


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_every_class_of_a_data_set_is_named(catalog: Catalog, dataset: str) -> None:
    images = from_bytes(np.stack([image_of(dataset, label) for label in range(10)]))[:, None]
    assert catalog.classifier(dataset).logits(images).argmax(axis=1).tolist() == list(range(10))


def test_without_a_seed_the_noise_is_zero(catalog: Catalog) -> None:
    purifier = catalog.purifier("mnist", "autoencoder")
    assert purifier is not None
    purified = purifier.purify(batch())
    assert np.array_equal(purified, purifier.purify(batch()))
    below = 3 * 78  # the bands before that of class 3
    expected = batch().reshape(8, 784)[:, :below] * CONTRAST
    assert np.allclose(purified.reshape(8, 784)[:, :below], expected, atol=1e-6)
    assert purified[0].reshape(784)[below] == pytest.approx(140 / 255 * CONTRAST + BOOST, abs=1e-6)


def test_with_a_seed_the_noise_is_drawn_and_replayed(catalog: Catalog) -> None:
    purifier = catalog.purifier("mnist", "autoencoder")
    assert purifier is not None
    assert np.array_equal(purifier.purify(batch(), seed=1), purifier.purify(batch(), seed=1))
    assert not np.array_equal(purifier.purify(batch(), seed=1), purifier.purify(batch(), seed=2))
    assert not np.array_equal(purifier.purify(batch(), seed=0), purifier.purify(batch()))


def test_noise_is_standard_normal_of_the_graphs_shape(catalog: Catalog) -> None:
    graph = catalog.manifest.graph("mnist", "purifier", "autoencoder")
    drawn = noise(graph, 1000, seed=0)
    assert drawn.shape == (1000, NOISE)
    assert drawn.dtype == np.float32
    assert abs(float(drawn.mean())) < 0.1
    assert float(drawn.std()) == pytest.approx(1, abs=0.1)
    with pytest.raises(ManifestError, match="no input 'noise'"):
        noise(catalog.manifest.graph("mnist", "classifier"), 1, None)


@pytest.mark.parametrize("defense", ["none", "autoencoder", "distillation"])
def test_an_answer_does_not_depend_on_its_neighbours(catalog: Catalog, defense: str) -> None:
    model = catalog.white_box("mnist", defense, seed=5)
    images, labels = batch(), np.arange(8) % 10
    logits, gradients = model.loss_gradient(images, labels)
    for index in range(len(images)):
        one, label = images[index : index + 1], labels[index : index + 1]
        single_logits, single_gradient = model.loss_gradient(one, label)
        assert np.array_equal(model.logits(one), model.logits(images)[index : index + 1])
        assert np.array_equal(single_logits, logits[index : index + 1])
        assert np.array_equal(single_gradient, gradients[index : index + 1])


@pytest.mark.parametrize("defense", ["none", "autoencoder", "distillation"])
def test_the_gradient_is_that_of_the_cross_entropy(catalog: Catalog, defense: str) -> None:
    model = catalog.white_box("mnist", defense)
    images, labels = batch(n=2), np.array([3, 5])
    _, gradient = model.loss_gradient(images, labels)
    step, pixel = 1e-2, (slice(None), 0, 9, 3)
    up, down = images.copy(), images.copy()
    up[pixel] += step
    down[pixel] -= step
    losses = [cross_entropy(model.logits(side).astype(np.float64), labels) for side in (up, down)]
    assert np.allclose((losses[0] - losses[1]) / (2 * step), gradient[pixel], atol=1e-3)
    assert np.abs(gradient[pixel]).max() > 1e-2


def test_the_gradient_is_exact_where_the_softmax_is_one(catalog: Catalog) -> None:
    sure = from_bytes(image_of("mnist", 3, background=0, band=255))[None, None]
    model, label = catalog.white_box("mnist"), np.array([3])
    logits, gradient = model.loss_gradient(sure, label)
    unscaled = np.exp(logits - logits.max())
    assert (unscaled / unscaled.sum())[0, 3] == 1  # in float32
    exact = np.exp(logits.astype(np.float64) - logits.max())
    exact /= exact.sum()
    exact[0, 3] = -(exact[0].sum() - exact[0, 3])
    expected = np.zeros(784)
    expected[: 10 * BAND] = exact[0].repeat(BAND) * SCALE / BAND
    np.testing.assert_allclose(gradient.reshape(784), expected, rtol=1e-4)
    assert np.all(gradient.reshape(784)[3 * BAND : 4 * BAND] < 0)


@pytest.mark.parametrize("defense", ["none", "autoencoder"])
def test_the_vector_jacobian_product_is_that_of_the_loss(catalog: Catalog, defense: str) -> None:
    """Of a loss that is linear in the logits, and of one whose weights depend on them."""
    model = catalog.white_box("mnist", defense)
    assert isinstance(model, GradientModel)
    images, weights = batch(n=2), np.arange(20, dtype=np.float32).reshape(2, 10)
    step, pixel = 1e-2, (slice(None), 0, 9, 3)
    up, down = images.copy(), images.copy()
    up[pixel] += step
    down[pixel] -= step
    _, linear = model.vector_jacobian(images, weights)
    rise = (model.logits(up) - model.logits(down)) / (2 * step)
    assert np.allclose((rise * weights).sum(axis=1), linear[pixel], atol=1e-3)
    logits, squared = model.vector_jacobian(images, lambda logits: 2 * logits)
    squares = [(model.logits(side).astype(np.float64) ** 2).sum(axis=1) for side in (up, down)]
    assert np.allclose((squares[0] - squares[1]) / (2 * step), squared[pixel], atol=1e-2)
    assert np.array_equal(logits, model.logits(images))


def test_an_averaged_look_is_the_mean_of_fresh_draws_that_the_seed_makes(catalog: Catalog) -> None:
    images, labels = batch(n=2), np.array([3, 5])
    first, second = (catalog.white_box("mnist", "autoencoder", seed=4, draws=3) for _ in range(2))
    once, again = first.loss_gradient(images, labels), first.loss_gradient(images, labels)
    assert not np.array_equal(once[0], again[0])
    assert all(np.array_equal(a, b) for a, b in zip(once, second.loss_gradient(images, labels), strict=True))
    many = catalog.white_box("mnist", "autoencoder", seed=4, draws=400)
    still = catalog.white_box("mnist", "autoencoder").logits(images)
    assert np.allclose(many.logits(images), still, atol=0.1)  # the tiny purifier is linear in its noise
    asked = catalog.black_box("mnist", "autoencoder", seed=4, draws=3)
    assert np.allclose(asked.logits(images), once[0], atol=1e-5)
    with pytest.raises(AttributeError):
        asked.loss_gradient(images, labels)  # type: ignore[attr-defined]


def test_a_pipeline_without_a_gradient_can_still_be_asked(catalog: Catalog) -> None:
    purifier = catalog.purifier("mnist", "puvae")
    assert purifier is not None
    expected = catalog.classifier("mnist").logits(purifier.purify(batch()))
    assert np.allclose(catalog.black_box("mnist", "puvae").logits(batch()), expected, atol=1e-5)
    assert np.array_equal(
        catalog.black_box("mnist", "none").logits(batch()), catalog.classifier("mnist").logits(batch())
    )


def test_an_adaptive_attacker_sees_the_purifier(catalog: Catalog) -> None:
    oblivious, adaptive = catalog.white_box("mnist"), catalog.white_box("mnist", "autoencoder")
    assert not np.allclose(oblivious.logits(batch()), adaptive.logits(batch()))
    purifier = catalog.purifier("mnist", "autoencoder")
    assert purifier is not None
    purified = purifier.purify(batch())
    assert np.allclose(adaptive.logits(batch()), catalog.classifier("mnist").logits(purified), atol=1e-5)


def test_an_adaptive_attacker_sees_the_classifier_in_the_plain_ones_place(catalog: Catalog) -> None:
    """It takes classes 0 and 1 for each other."""
    plain = catalog.classifier("mnist").logits(batch())
    for seen in (catalog.white_box("mnist", "distillation"), catalog.black_box("mnist", "distillation")):
        assert np.allclose(seen.logits(batch()), plain[:, [1, 0, *range(2, 10)]] / 2, atol=1e-5)


def test_the_noise_of_a_white_box_is_one_draw_for_all_images(catalog: Catalog) -> None:
    fixed = catalog.white_box("mnist", "autoencoder", seed=3)
    same = np.repeat(batch()[:1], 4, axis=0)
    assert isinstance(fixed, GradientModel)
    assert np.ptp(fixed.logits(same), axis=0).max() == 0
    assert not np.array_equal(fixed.logits(same), catalog.white_box("mnist", "autoencoder").logits(same))


def test_further_defenses_are_loaded_on_first_use(models_dir: Path) -> None:
    catalog = Catalog.load(models_dir, "cpu", 1)
    graph = catalog.manifest.graph("mnist", "purifier", "puvae")
    assert catalog.sessions.provider(graph) is None
    assert catalog.purifier("mnist", "puvae") is not None
    assert catalog.sessions.provider(graph) == "CPUExecutionProvider"


def test_every_default_graph_has_run_once_before_the_first_request(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[Session, int]] = []
    run = Session.run

    def counted(self: Session, **inputs: Array) -> Tensors:
        runs.append((self, len(inputs["images"])))
        return run(self, **inputs)

    monkeypatch.setattr(Session, "run", counted)
    catalog = Catalog.load(models_dir, "cpu", 1)
    assert {session.provider for session, _ in runs} == {"CPUExecutionProvider"}
    opened = [graph.name for graph in catalog.manifest.graphs if catalog.sessions.provider(graph)]
    assert opened == [
        graph.name for graph in catalog.manifest.graphs
        if (graph.kind, graph.defense) in {("classifier", "none"), ("purifier", "autoencoder")}
    ]  # fmt: skip
    catalog.warm_rest()
    default = [graph for graph in manifests.read(models_dir).graphs if graph.defense in {"none", "autoencoder"}]
    assert len(set(map(id, (session for session, _ in runs)))) == len(default) == 2 * 5
    assert [batch for _, batch in runs] == len(default) * [1, 2, 3, 6]


def test_a_slow_graph_is_warmed_with_one_image(with_slow: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog.load(with_slow.models_dir, "cpu", 1)
    batches: list[int] = []
    run = Session.run

    def counted(self: Session, **inputs: Array) -> Tensors:
        batches.append(len(inputs["images"]))
        return run(self, **inputs)

    monkeypatch.setattr(Session, "run", counted)
    catalog.purifier("mnist", "puvae")
    assert batches == [1]
    assert (Defense.of(catalog, "mnist", "puvae").slow, Defense.of(catalog, "mnist", "none").slow) == (True, False)


def test_unknown_names_are_errors_that_say_what_is_allowed(catalog: Catalog) -> None:
    with pytest.raises(ParameterError, match="unknown dataset 'cifar'; allowed: mnist, fashion-mnist"):
        catalog.classifier("cifar")
    with pytest.raises(
        ParameterError, match="unknown defense 'x' for mnist; allowed: autoencoder, distillation, puvae, none"
    ):
        catalog.purifier("mnist", "x")
    with pytest.raises(ParameterError, match="no gradient is shipped for defense 'puvae' of mnist"):
        catalog.white_box("mnist", "puvae")
    with pytest.raises(ParameterError, match="sample is '30' with dataset=mnist; allowed: 0 to 29"):
        catalog.samples("mnist").checked("30")


def change(models_dir: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the folder whose manifest is edited."""
    folder = Path(shutil.copytree(models_dir, tmp_path / "models"))
    path = folder / manifests.FILE_NAME
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("kind", "defense"),
    [
        ("classifier", "none"),
        ("classifier_gradient", "none"),
        ("purifier", "autoencoder"),
        ("pipeline", "autoencoder"),
        ("pipeline_gradient", "autoencoder"),
    ],
)
def test_a_folder_that_lacks_what_requests_need_is_not_loaded(
    models_dir: Path, tmp_path: Path, kind: str, defense: str
) -> None:
    def drop(content: dict[str, Any]) -> None:
        lost = ("fashion-mnist", kind, defense)
        content["graphs"] = [g for g in content["graphs"] if (g["dataset"], g["kind"], g["defense"]) != lost]

    folder = change(models_dir, tmp_path, drop)
    with pytest.raises(ManifestError, match=f"no {kind} for dataset 'fashion-mnist' with defense '{defense}'"):
        Catalog.load(folder, "cpu", 1)


def test_a_folder_without_samples_is_not_loaded(models_dir: Path, tmp_path: Path) -> None:
    folder = change(models_dir, tmp_path, lambda content: content["samples"].pop())
    with pytest.raises(ManifestError, match="no samples for dataset 'fashion-mnist'"):
        Catalog.load(folder, "cpu", 1)


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    [
        (None, "is not an .npz of"),
        ({"images": np.zeros((1, 28, 28), np.uint8)}, "is not an .npz of"),
        (
            {"images": np.zeros((1, 28, 28)), "labels": np.zeros(1, np.int64)},
            r"holds float64 images .* allowed: uint8 \(1",
        ),
        ({"images": np.zeros((1, 28, 28), np.uint8), "labels": np.array([10])}, "in 0 to 9"),
    ],
)
def test_samples_that_are_none_are_not_loaded(
    models_dir: Path, tmp_path: Path, arrays: dict[str, Array] | None, fragment: str
) -> None:
    file = tmp_path / "models/mnist/samples.npz"

    def replaced(content: dict[str, Any]) -> None:
        file.write_bytes(b"no archive")
        if arrays is not None:
            np.savez(file, allow_pickle=False, **arrays)
        content["samples"][0].update(sha256=manifests.sha256(file), count=1)

    folder = change(models_dir, tmp_path, replaced)
    with pytest.raises(ManifestError, match=fragment):
        Catalog.load(folder, "cpu", 1)


def test_a_folder_of_one_data_set_is_loaded(models_dir: Path, tmp_path: Path) -> None:
    def only_mnist(content: dict[str, Any]) -> None:
        del content["class_names"]["fashion-mnist"]
        for name in ("graphs", "samples"):
            content[name] = [entry for entry in content[name] if entry["dataset"] == "mnist"]

    assert Catalog.load(change(models_dir, tmp_path, only_mnist), "cpu", 1).datasets == ("mnist",)


def test_a_tampered_folder_is_not_loaded(models_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models_dir, tmp_path / "models"))
    (folder / "mnist/samples.npz").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"samples.npz has SHA-256"):
        Catalog.load(folder, "cpu", 1)
