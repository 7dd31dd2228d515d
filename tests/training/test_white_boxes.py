from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import white_boxes
from training.measurement import AttackSpec
from training.pipeline import Pipeline, TorchWhiteBox, cross_entropy_cotangent, freeze
from training.white_boxes import IdentityWhiteBox, PipelineWhiteBox, Victim, white_box


class _Adder(nn.Module):
    """A purifier that darkens the image by half and adds its noise, one number an image."""

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        return 0.5 * images + noise.view(-1, 1, 1, 1)


@pytest.fixture
def pipeline(classifier: nn.Module) -> Pipeline:
    pipeline = freeze(Pipeline(_Adder(), classifier))
    assert isinstance(pipeline, Pipeline)
    return pipeline


IMAGES = torch.full((3, 1, 28, 28), 0.4) + 0.1 * torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 2, 3])


def _gradient(pipeline: Pipeline, shift: float) -> Tensor:
    noise = torch.full((3, 1), shift)
    return TorchWhiteBox(lambda images: pipeline(images, noise)).loss_gradient(IMAGES, LABELS)[1]


def test_the_gradient_is_the_mean_over_the_draws(pipeline: Pipeline) -> None:
    shifts: Iterator[float] = iter([0.0, 0.1, 0.2])
    model = PipelineWhiteBox(pipeline, lambda n: torch.full((n, 1), next(shifts)), eot=3)
    expected = torch.stack([_gradient(pipeline, shift) for shift in (0.0, 0.1, 0.2)]).mean(0)
    torch.testing.assert_close(model.loss_gradient(IMAGES, LABELS)[1], expected)


def test_the_identity_takes_the_classifiers_gradient_at_the_purified_image(
    pipeline: Pipeline, classifier: nn.Module
) -> None:
    model = IdentityWhiteBox(pipeline, lambda n: torch.zeros(n, 1))
    logits, gradient = model.loss_gradient(IMAGES, LABELS)
    expected_logits, expected = TorchWhiteBox(classifier).loss_gradient(0.5 * IMAGES, LABELS)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(_gradient(pipeline, 0.0), 0.5 * expected)


def test_any_losss_gradient_is_taken_as_the_cross_entropys_is(pipeline: Pipeline) -> None:
    def cotangent(logits: Tensor) -> Tensor:
        return cross_entropy_cotangent(logits, LABELS)

    shifts = [0.0, 0.1, 0.0, 0.1]
    averaged = PipelineWhiteBox(pipeline, lambda n: torch.full((n, 1), shifts.pop(0)), eot=2)
    identity = IdentityWhiteBox(pipeline, lambda n: torch.zeros(n, 1))
    for model in (averaged, identity):
        expected = model.loss_gradient(IMAGES, LABELS)
        for found, wanted in zip(model.vector_jacobian(IMAGES, cotangent), expected, strict=True):
            torch.testing.assert_close(found, wanted)


def test_attacks_walk_the_fastest_form_of_the_classifier_and_all_pipelines_share_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = []

    def fastest(net: nn.Module, *_: object, **__: object) -> nn.Module:
        marked.append(net)
        return net

    monkeypatch.setattr(white_boxes, "fastest", fastest)
    victim = Victim(models, "mnist", "cpu")
    pipelines = [white_boxes._pipeline(victim, defense) for defense in ("autoencoder", "autoencoder_paper")]
    assert [pipeline.classifier for pipeline in pipelines] == [white_boxes.classifier(victim)] * 2 == marked * 2


def test_noise_is_zero_or_one_draw_or_fresh_as_the_spec_says(models: Path) -> None:
    victim = Victim(models, "mnist", "cpu")

    def twice(noise: str, stream: int = 0) -> tuple[Tensor, Tensor]:
        model = white_box(victim, AttackSpec("pgd", 0.1, defense="autoencoder", noise=noise), stream)  # type: ignore[arg-type]
        return model.logits(IMAGES), model.logits(IMAGES)

    for noise in ("zero", "fixed"):
        assert torch.equal(*twice(noise))
        assert torch.equal(twice(noise)[0], twice(noise, stream=200)[0])
    assert not torch.equal(twice("zero")[0], twice("fixed")[0])
    assert not torch.equal(*twice("drawn"))
    assert torch.equal(twice("drawn")[0], twice("drawn")[0])
    assert not torch.equal(twice("drawn")[0], twice("drawn", stream=200)[0])
