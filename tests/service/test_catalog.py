"""The catalogue gives verified, warm models, whose noise is what the seed says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from service.attacks.white_box import cross_entropy
from service.catalog import Catalog, GradientModel, noise
from service.errors import ManifestError, NotFoundError, ParameterError
from service.images import from_bytes
from service.inference import Session, Tensors
from tests.service.asking import Array
from tests.service.tiny_models import BOOST, CONTRAST, NOISE, image_of


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


@pytest.mark.parametrize("defense", ["none", "autoencoder"])
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


@pytest.mark.parametrize("defense", ["none", "autoencoder"])
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


def test_an_adaptive_attacker_sees_the_purifier(catalog: Catalog) -> None:
    oblivious, adaptive = catalog.white_box("mnist"), catalog.white_box("mnist", "autoencoder")
    assert not np.allclose(oblivious.logits(batch()), adaptive.logits(batch()))
    purifier = catalog.purifier("mnist", "autoencoder")
    assert purifier is not None
    purified = purifier.purify(batch())
    assert np.allclose(adaptive.logits(batch()), catalog.classifier("mnist").logits(purified), atol=1e-5)


def test_the_noise_of_a_white_box_is_one_draw_for_all_images(catalog: Catalog) -> None:
    fixed = catalog.white_box("mnist", "autoencoder", seed=3)
    same = np.repeat(batch()[:1], 4, axis=0)
    assert isinstance(fixed, GradientModel)
    assert np.ptp(fixed.logits(same), axis=0).max() == 0
    assert not np.array_equal(fixed.logits(same), catalog.white_box("mnist", "autoencoder").logits(same))


def test_further_defenses_are_loaded_on_first_use(models_dir: Path) -> None:
    catalog = Catalog.load(models_dir, "cpu", 1)
    graph = catalog.manifest.graph("mnist", "purifier", "puvae")
    assert catalog.provider(graph) is None
    assert catalog.purifier("mnist", "puvae") is not None
    assert catalog.provider(graph) == "CPUExecutionProvider"


def test_every_default_graph_has_run_once_before_the_first_request(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Session] = []
    run = Session.run

    def counted(self: Session, **inputs: Array) -> Tensors:
        runs.append(self)
        return run(self, **inputs)

    monkeypatch.setattr(Session, "run", counted)
    Catalog.load(models_dir, "cpu", 1)
    assert len(runs) == len(set(map(id, runs))) == 2 * 5


def test_unknown_names_are_errors_that_say_what_is_allowed(catalog: Catalog) -> None:
    with pytest.raises(ParameterError, match="unknown dataset 'cifar'; allowed: mnist, fashion-mnist"):
        catalog.classifier("cifar")
    with pytest.raises(ParameterError, match="unknown defense 'x' for mnist; allowed: autoencoder, puvae, none"):
        catalog.purifier("mnist", "x")
    with pytest.raises(ParameterError, match="no gradient is shipped for defense 'puvae' of mnist"):
        catalog.white_box("mnist", "puvae")
    with pytest.raises(ParameterError, match="sample 30 of mnist does not exist; allowed: 0 to 29"):
        catalog.samples("mnist").checked(30)


def test_a_folder_without_samples_says_so(models_dir: Path) -> None:
    loaded = Catalog.load(models_dir, "cpu", 1)
    bare = Catalog(models_dir, loaded.manifest.model_copy(update={"samples": ()}), loaded.runtime)
    with pytest.raises(NotFoundError, match="no samples are shipped for dataset 'mnist'"):
        bare.samples("mnist")


def test_a_tampered_folder_is_not_loaded(models_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models_dir, tmp_path / "models"))
    (folder / "mnist/samples.npz").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"samples.npz has SHA-256"):
        Catalog.load(folder, "cpu", 1)
