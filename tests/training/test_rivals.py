"""The paper's rivals: what their purifiers promise, and that each is trained by its own loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_classifier import TinyClassifier
from training import train_gan
from training import train_vae as train_vae_module
from training.attacked_examples import attack_training_set
from training.config import GanConfig, Schedule, VaeConfig
from training.data import Examples
from training.pipeline import freeze
from training.purifiers.codes import Decoder, kl_divergence
from training.purifiers.defense_gan import DefenseGAN
from training.purifiers.defense_vae import DefenseVAE
from training.purifiers.puvae import PuVAE
from training.train_vae import elbo, train_vae

_CPU = torch.device("cpu")
_SCHEDULE = Schedule(epochs=20, batch_size=20, learning_rate=1e-2, weight_decay=0.0, warmup_steps=1)


def _sharp(decoder: Decoder) -> Decoder:
    """Images that differ, as a trained decoder's do."""
    with torch.no_grad():
        decoder.layers[-2].weight.mul_(20)  # type: ignore[operator]
    return decoder


def test_the_divergence_is_zero_for_the_standard_normal_and_grows_with_mean_and_variance() -> None:
    zeros = torch.zeros(1, 3)
    assert kl_divergence(zeros, zeros).item() == 0
    assert kl_divergence(zeros + 2, zeros).item() == pytest.approx(3 * 2)
    assert kl_divergence(zeros, zeros + math.log(4)).item() == pytest.approx(3 * 0.5 * (4 - 1 - math.log(4)))


def test_the_bound_counts_reconstruction_and_weighed_divergence_a_pixel() -> None:
    logits, images = torch.zeros(2, 1, 28, 28), torch.ones(2, 1, 28, 28)
    mean = torch.full((2, 64), 2.0)
    loss, drawn = elbo(logits, images, mean, torch.zeros(2, 64), kl_weight=0.5)
    assert drawn.item() == pytest.approx(math.log(2), rel=1e-5)
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * 64 * 2 / 784, rel=1e-5)


def test_puvae_gives_the_candidate_nearest_to_each_image() -> None:
    torch.manual_seed(0)
    module = PuVAE().eval()
    _sharp(module.decoder)
    images, noise = torch.rand(3, 1, 28, 28), module.draw_noise(3, _CPU)
    with torch.no_grad():
        purified = module(images, noise)
        for image, draws, found in zip(images, noise, purified, strict=True):
            candidates = torch.sigmoid(module.explain(image.expand(10, 1, 28, 28), torch.eye(10), draws)[0])
            distances = (candidates - image).flatten(1).norm(dim=1)
            assert distances.std() > 0.1
            torch.testing.assert_close(found, candidates[distances.argmin()])


def test_puvaes_encoder_reads_moved_pixels_of_three_images_in_four_and_never_leaves_the_range() -> None:
    torch.manual_seed(0)
    images = torch.full((400, 1, 28, 28), 0.5)
    moved = (train_vae_module._moved(images, 0.4) - images).abs().flatten(1)
    assert (moved.std(dim=1) < 1e-6).all()  # one distance an image
    assert 0.2 < (moved[:, 0] == 0).float().mean() < 0.3
    assert 0.35 < moved.max() <= 0.4
    assert torch.equal(train_vae_module._moved(images, 0.0), images)
    assert train_vae_module._moved(torch.ones_like(images), 0.4).max() <= 1


def test_defense_gan_comes_nearer_with_every_doubling_of_its_steps_and_keeps_the_best_start() -> None:
    torch.manual_seed(0)
    module = DefenseGAN(restarts=4).eval()
    _sharp(module.generator)
    with torch.no_grad():
        images = module.generator(module.draw_noise(3, _CPU)[:, 0])

    def distance(steps: int, restarts: int = 4) -> float:
        other = DefenseGAN(steps=steps, restarts=restarts)
        other.generator = module.generator
        found: Tensor = other(images, torch.zeros(3, *other.noise_shape))
        assert not found.requires_grad
        return float((found - images).square().sum())

    distances = [distance(steps) for steps in (0, 5, 10, 20)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.5 * distances[0]
    assert distance(20) <= distance(20, restarts=1)


def test_defense_gans_noise_moves_its_starts_and_its_gradient_is_the_identitys() -> None:
    torch.manual_seed(0)
    module = DefenseGAN(steps=2, restarts=2).eval()
    images = torch.rand(2, 1, 28, 28, requires_grad=True)
    noise = module.draw_noise(2, _CPU)
    still, moved = module(images, torch.zeros_like(noise)), module(images, noise)
    assert not torch.equal(still, moved)
    weights = torch.rand(2, 1, 28, 28)
    (gradient,) = torch.autograd.grad((still * weights).sum(), images)
    torch.testing.assert_close(gradient, weights)


@pytest.mark.parametrize("attacked", [False, True], ids=["puvae", "defense_vae"])
def test_a_vae_learns_and_a_resumed_run_ends_in_the_same_weights(
    attacked: bool, examples: Examples, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    classifier = freeze(TinyClassifier())
    name = "defense_vae" if attacked else "puvae"
    config = VaeConfig(name, _SCHEDULE, attacked_images=20 if attacked else 0)

    def run(place: str, config: VaeConfig) -> nn.Module:
        attacks = tmp_path / "attacks"
        train = examples
        seen = train
        if attacked:
            seen = attack_training_set(classifier, train, config=config, device=_CPU, folder=attacks / "60")  # type: ignore[assignment]
        folder = tmp_path / place / name
        return train_vae(
            seen, train, classifier, config=config, device=_CPU, folder=folder, attacks=attacks / "validation"
        )

    module = run("whole", config)
    assert isinstance(module, DefenseVAE if attacked else PuVAE)
    losses = (tmp_path / "whole" / name / "epochs.csv").read_text().splitlines()
    assert len(losses) == 1 + _SCHEDULE.epochs
    images = examples.images[:20]
    noise = torch.zeros(20, *module.noise_shape)
    with torch.no_grad():
        error = (module(images, noise) - images).square().mean()
        assert error < 0.6 * (0.5 - images).square().mean()
    again = run("whole", config)  # all steps are done: what is kept is loaded
    for name_, tensor in module.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name_]), name_


def test_the_players_of_the_game_move_in_turn_and_only_by_their_own_loss(examples: Examples) -> None:
    torch.manual_seed(0)
    players = train_gan._Players(DefenseGAN().generator)
    config = GanConfig("defense_gan", start=_SCHEDULE, schedule=_SCHEDULE, critic_steps=2)
    loss = train_gan._game(examples, players, config, _CPU)
    drawing = {"generator", "encoder"}
    for step, moves in enumerate([{"critic"}, {"critic"}, drawing, {"critic"}]):
        players.zero_grad(set_to_none=True)
        loss(torch.arange(8), step)[0].backward()  # type: ignore[no-untyped-call]
        moved = {name.partition(".")[0] for name, weight in players.named_parameters() if weight.grad is not None}
        assert moved == moves


def test_a_gan_is_trained_in_two_stages_and_returns_a_defense(examples: Examples, tmp_path: Path) -> None:
    short = replace(_SCHEDULE, epochs=1)
    config = GanConfig("defense_gan", start=short, schedule=short, critic_steps=1)
    few = examples.first(20)
    torch.manual_seed(0)
    module = train_gan.train_gan(
        few, few, freeze(TinyClassifier()), config=config, device=_CPU, folder=tmp_path / "mnist" / "defense_gan"
    )
    assert (module.steps, module.restarts) == (200, 10)
    assert {path.name for path in (tmp_path / "mnist" / "defense_gan").iterdir()} >= {"start", "weights.pt"}


def test_the_classifier_judges_puvaes_candidates_from_its_epoch_on_as_their_own_class_and_as_others(
    examples: Examples,
) -> None:
    asked: list[int] = []

    class Judge(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            asked.append(len(images))
            return images.flatten(1)[:, :10]

    config = VaeConfig("puvae", _SCHEDULE, classifier_epoch=1, classifier_weight=0.5, classifier_share=0.2)

    def lost(config: VaeConfig, step: int) -> tuple[float, float]:
        torch.manual_seed(0)
        loss, losses = train_vae_module._conditional(examples, PuVAE(), Judge(), config, _CPU)(torch.arange(20), step)
        return loss.item(), losses["cross_entropy"]

    steps_per_epoch = len(examples) // _SCHEDULE.batch_size
    plain, unjudged = lost(config, steps_per_epoch - 1)
    assert math.isnan(unjudged)
    assert asked == []
    judged, cross_entropy = lost(config, steps_per_epoch)
    assert asked == [2 * 4]  # a fifth of the batch, twice
    assert judged == pytest.approx(plain + 0.5 * cross_entropy, rel=1e-5)
    assert lost(replace(config, classifier_weight=0.0), steps_per_epoch)[0] == pytest.approx(plain)
