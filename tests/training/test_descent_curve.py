"""What Defense-GAN's steps and restarts buy: one descent gives the points that many of their own would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from training import descent_curve
from training.data import Examples
from training.pipeline import Pipeline, TorchWhiteBox, freeze
from training.protocols import RIVALS_FGSM_EPS
from training.purifiers.defense_gan import DefenseGAN


class _ByBrightness(nn.Module):
    """Calls an image by how bright its first row is, so that what a descent finds decides the answer."""

    def forward(self, images: Tensor) -> Tensor:
        centres = torch.linspace(0.4, 0.6, 10)
        return -1e4 * (images[:, 0, 0].mean(dim=1, keepdim=True) - centres).square()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    torch.manual_seed(0)
    module = DefenseGAN(steps=4, restarts=2).eval()
    with torch.no_grad():
        module.generator.layers[-2].weight.mul_(20)  # type: ignore[operator]
    made = freeze(Pipeline(module, _ByBrightness()))
    monkeypatch.setattr(descent_curve, "STEPS", (2, 4))
    monkeypatch.setattr(descent_curve, "RESTARTS", (1, 2))
    monkeypatch.setattr(descent_curve, "load_pipeline", lambda *_: made)
    monkeypatch.setattr("service.manifest.read", lambda _: None)
    return made  # type: ignore[return-value]


def test_every_point_is_what_a_descent_of_that_length_gives(pipeline: Pipeline, tmp_path: Path) -> None:
    images = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = pipeline(images, torch.zeros(30, 2, 16)).argmax(dim=1)
    points = descent_curve.measure("mnist", Examples(images, labels), tmp_path)
    assert [(point.steps, point.restarts) for point in points] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    assert [point.work for point in points] == [0.25, 0.5, 0.5, 1.0]
    assert {point.n for point in points} == {30}
    signs = TorchWhiteBox(pipeline.classifier).loss_gradient(images, labels)[1].sign()
    attacked = (images + RIVALS_FGSM_EPS * signs).clamp(0, 1)
    for point in points:
        alone = DefenseGAN(steps=point.steps, restarts=point.restarts)
        alone.generator = cast(DefenseGAN, pipeline.purifier.purifier).generator
        own = Pipeline(alone, pipeline.classifier)
        noise = torch.zeros(30, *alone.noise_shape)
        clean, robust = ((own(seen, noise).argmax(dim=1) == labels).float().mean() for seen in (images, attacked))
        assert point.clean_accuracy == pytest.approx(clean.item(), abs=1e-4)
        assert point.robust_accuracy == pytest.approx(robust.item(), abs=1e-4)
    assert len({point.clean_accuracy for point in points}) > 1


def test_points_of_another_data_set_stay_and_those_of_the_same_are_replaced(pipeline: Pipeline, tmp_path: Path) -> None:
    few = Examples(torch.rand(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64))
    others = descent_curve.measure("fashion-mnist", few, tmp_path)
    for _ in range(2):
        own = descent_curve.measure("mnist", few, tmp_path)
    assert descent_curve.read(tmp_path / descent_curve.FILE_NAME) == others + own


def test_the_figure_has_a_panel_for_each_data_set_and_two_lines_for_each_number_of_restarts() -> None:
    point = descent_curve.Point("mnist", 25, 1, 0.1, 0.9, 0.3, 0.8, 10, "c")
    points = [
        replace(point, dataset=dataset, steps=steps, restarts=restarts)
        for dataset in ("mnist", "fashion-mnist")
        for steps in descent_curve.STEPS
        for restarts in descent_curve.RESTARTS
    ]
    panels = descent_curve.drawn(points).axes
    assert len(panels) == 2
    assert {len(panel.lines) for panel in panels} == {2 * len(descent_curve.RESTARTS)}
    assert {len(line.get_xdata()) for line in panels[0].lines} == {len(descent_curve.STEPS)}  # type: ignore[arg-type]
