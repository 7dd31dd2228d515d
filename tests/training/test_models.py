from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from training.classifiers.vgg16 import VGG16
from training.errors import BackboneError
from training.purifiers.autoencoder import Autoencoder
from training.purifiers.paper_autoencoder import PaperAutoencoder
from training.weights import count_parameters, round_to_stored_precision

PURIFIERS = [Autoencoder, PaperAutoencoder]


def test_vgg16_has_sixteen_weight_layers_and_fifteen_million_parameters() -> None:
    model = VGG16()
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert (sum(isinstance(layer, nn.Conv2d) for layer in layers), len(layers)) == (13, 16)
    assert 14.5e6 < count_parameters(model) < 15.5e6


def test_vgg16_pads_with_black_and_normalises_inside() -> None:
    model = VGG16().eval()
    seen: list[torch.Tensor] = []
    model.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert model(torch.ones(2, 1, 28, 28)).shape == (2, 10)
    assert seen[0].shape == (2, 3, 32, 32)
    black, white = seen[0][0, :, 0, 0], seen[0][0, :, 16, 16]
    torch.testing.assert_close(black, -model.mean.flatten() / model.std.flatten())
    torch.testing.assert_close(white, (1 - model.mean.flatten()) / model.std.flatten())


def test_a_backbone_file_fills_the_convolutions(tmp_path: Path) -> None:
    source, target = VGG16(), VGG16()
    save_file({f"features.{name}": tensor for name, tensor in source.features.state_dict().items()}, tmp_path / "b")
    target.load_backbone(tmp_path / "b")
    for expected, found in zip(source.features.parameters(), target.features.parameters(), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a file; allowed: 'imagenet'"),
        (b"no safetensors", "is not a safetensors file"),
        ({"features.0.weight": torch.zeros(1)}, "does not hold VGG-16's convolutions"),
    ],
)
def test_a_wrong_backbone_is_refused_with_the_reason(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "backbone.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        save_file(content, path)
    with pytest.raises(BackboneError, match=message):
        VGG16().load_backbone(path)


def test_the_papers_autoencoder_has_its_88667_parameters_and_a_latent_of_ten() -> None:
    model = PaperAutoencoder()
    assert count_parameters(model) == 88_667
    assert model.noise_shape == (10,)


@pytest.mark.parametrize("kind", PURIFIERS)
def test_a_purifier_keeps_the_shape_and_listens_to_its_noise(kind: type[Autoencoder | PaperAutoencoder]) -> None:
    torch.manual_seed(0)
    purifier = kind(noise_std=1.0).eval()
    images = torch.rand(3, 1, 28, 28)
    zero, drawn = torch.zeros(3, *purifier.noise_shape), purifier.draw_noise(3, torch.device("cpu"))
    assert purifier(images, zero).shape == images.shape
    assert torch.equal(purifier(images, zero), purifier(images, zero))
    assert not torch.allclose(purifier(images, zero), purifier(images, drawn))


def test_the_autoencoder_can_tell_pixels_apart_that_a_smooth_function_cannot() -> None:
    """Its first convolution sees pi, 2 pi, 4 pi … times a pixel: values 1/8 apart lie opposite on the last circle."""
    features = Autoencoder(width=8, depth=1, octaves=4).encoder[1](torch.tensor([0.5, 0.625]).view(2, 1, 1, 1))
    assert features.shape == (2, 9, 1, 1)
    values, sines, cosines = features[:, 0].flatten(), features[:, 1:5].flatten(1), features[:, 5:].flatten(1)
    torch.testing.assert_close(values, torch.tensor([0.5, 0.625]))
    torch.testing.assert_close(sines[0], torch.tensor([1.0, 0.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosines[:, 3], torch.tensor([1.0, -1.0]), atol=1e-6, rtol=0)


def test_rounding_to_stored_precision_happens_once_and_is_small() -> None:
    model = PaperAutoencoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    round_to_stored_precision(model)
    once = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    round_to_stored_precision(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, once[name])
        torch.testing.assert_close(tensor, before[name], rtol=1e-3, atol=1e-6)
