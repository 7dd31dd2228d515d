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


def test_pixels_are_moved_both_ways_by_one_distance_an_image_in_a_share_of_them_and_within_the_range() -> None:
    torch.manual_seed(0)
    images = torch.full((400, 1, 28, 28), 0.5)
    moves = (train_vae_module._moved(images, 0.4, 0.75) - images).flatten(1)
    assert (moves.abs().std(dim=1) < 1e-6).all()
    assert 0.2 < (moves[:, 0] == 0).float().mean() < 0.3
    assert 0.35 < moves.max() <= 0.4
    assert moves.min() == pytest.approx(-moves.max().item())
    assert torch.equal(train_vae_module._moved(images, 0.0, 0.75), images)
    extremes = torch.cat([torch.zeros_like(images), torch.ones_like(images)])
    moved = train_vae_module._moved(extremes, 0.4, 1.0)
    assert (moved.min().item(), moved.max().item()) == (0, 1)


def test_puvae_encodes_the_moved_images_and_draws_the_clean_ones(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = PuVAE()
    encoded: list[Tensor] = []
    drawn: list[Tensor] = []
    explain = module.explain

    def watched(images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded.append(images)
        return explain(images, labels, noise)

    def bound(logits: Tensor, images: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        drawn.append(images)
        return logits.mean(), logits.mean()

    monkeypatch.setattr(module, "explain", watched)
    monkeypatch.setattr(train_vae_module, "elbo", bound)
    config = VaeConfig("puvae", _SCHEDULE, pixel_noise=0.5, share_moved=1.0)
    train_vae_module._conditional(examples, module, nn.Identity(), config, _CPU)(torch.arange(20), 0)
    assert torch.equal(drawn[0], examples.images[:20])
    assert (encoded[0] != drawn[0]).flatten(1).any(dim=1).all()


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


def test_the_generators_turn_keeps_the_bound_and_raises_the_critics_score(examples: Examples) -> None:
    torch.manual_seed(0)
    players = train_gan._Players(DefenseGAN().generator)
    config = GanConfig("defense_gan", start=_SCHEDULE, schedule=_SCHEDULE, critic_steps=1, game_weight=0.5)
    codes = torch.randn(64, *DefenseGAN().noise_shape)[:, 0]
    loss, shown = train_gan._game(examples, players, config, _CPU)(torch.arange(20), 1)
    assert loss.item() == pytest.approx(shown["bound"] + 0.5 * shown["generator"], rel=1e-5)
    before = players.critic(players.generator(codes)).mean()
    loss, _ = train_gan._game(examples, players, replace(config, game_weight=1e3), _CPU)(torch.arange(20), 1)
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in players.generator.parameters():
            assert weight.grad is not None
            weight.sub_(1e-3 * weight.grad / weight.grad.norm())
        assert players.critic(players.generator(codes)).mean() > before


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
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Tensor] = []
    drawn_as: list[Tensor] = []
    module = PuVAE()
    explain, cross_entropy = module.explain, nn.functional.cross_entropy

    def watched(images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        drawn_as.append(labels.argmax(dim=1))
        return explain(images, labels, noise)

    def judge(answers: Tensor, labels: Tensor) -> Tensor:
        judged.append(labels)
        return cross_entropy(answers, labels)

    monkeypatch.setattr(module, "explain", watched)
    monkeypatch.setattr(nn.functional, "cross_entropy", judge)
    config = VaeConfig("puvae", _SCHEDULE, classifier_epoch=1, classifier_weight=0.5, classifier_share=0.2)
    classifier = freeze(TinyClassifier())
    steps_per_epoch = len(examples) // _SCHEDULE.batch_size

    def lost(config: VaeConfig, step: int) -> tuple[float, float, float]:
        """The loss, the cross-entropy in it, and the length of the decoder's gradient."""
        torch.manual_seed(0)
        loss, losses = train_vae_module._conditional(examples, module, classifier, config, _CPU)(torch.arange(20), step)
        module.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        weight = next(module.decoder.parameters()).grad
        assert weight is not None
        return loss.item(), losses["cross_entropy"], weight.norm().item()

    plain, unjudged, gradient = lost(config, steps_per_epoch - 1)
    assert math.isnan(unjudged)
    assert judged == []
    loss, judgement, with_judge = lost(config, steps_per_epoch)
    assert loss == pytest.approx(plain + 0.5 * judgement, rel=1e-5)
    assert with_judge != pytest.approx(gradient, rel=1e-4)
    own, others = examples.labels[:4], drawn_as[-1]
    assert torch.equal(judged[0], torch.cat([own, others]))
    assert not torch.equal(own, others)
    assert lost(replace(config, classifier_weight=0.0), steps_per_epoch)[0] == pytest.approx(plain)
