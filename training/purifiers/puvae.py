"""PuVAE (arXiv 1903.00585): a class-conditional variational auto-encoder that offers one candidate for each class.

The candidate nearest to the image is the purified image. Knows no attack and no classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.purifiers.codes import Decoder, Encoder

CLASSES = 10
# Few numbers, so that what tells the classes apart is left to the class.
LATENT = 16


class PuVAE(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] and standard normal noise (N, 10, 16) to images (N, 1, 28, 28) within (0, 1).

    Departures from the paper, meant to its good: the encoder learns with random noise on the pixels, to draw the clean
    image; the classifier's cross-entropy judges candidates of wrong classes too. And plain convolutions where the
    paper's encoder has dilated ones.

    Args:
        noise_std: how much of its own standard deviation each candidate's code is moved by; 1 in training.
    """

    def __init__(self, noise_std: float = 1.0) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.noise_shape: tuple[int, ...] = (CLASSES, LATENT)
        self.encoder = Encoder(LATENT, CLASSES)
        self.decoder = Decoder(LATENT + CLASSES)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Of each image's ten candidates the one at the smallest Euclidean distance."""
        classes = torch.eye(CLASSES, device=images.device)
        labels = classes.expand(images.shape[0], CLASSES, CLASSES).flatten(0, 1)
        repeated = images.expand(-1, CLASSES, 28, 28).reshape(-1, 1, 28, 28)
        logits, _, _ = self.explain(repeated, labels, noise.flatten(0, 1))
        candidates = torch.sigmoid(logits).reshape(-1, CLASSES, 28, 28)
        distances = (candidates - images).square().sum(dim=(2, 3))
        nearest = distances.argmin(dim=1, keepdim=True)
        # A sum over a mask and not a gather, whose gradient ONNX has no operator for.
        chosen = (nearest == torch.arange(CLASSES, device=images.device)).to(candidates.dtype)
        return (candidates * chosen[:, :, None, None]).sum(dim=1, keepdim=True)

    def explain(self, images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions, before the sigmoid, of images as one-hot `labels` (N, 10) with noise (N, 16).

        Beside them mean and logarithm of variance (N, 16) of their codes.
        """
        mean, log_variance = self.encoder(images, labels)
        codes = mean + self.noise_std * torch.exp(0.5 * log_variance) * noise
        return self.decoder.logits(torch.cat([codes, labels], dim=1)), mean, log_variance

    def draw_noise(self, n: int, device: torch.device) -> Tensor:
        """Standard normal noise (n, 10, 16) from torch's global generator."""
        return torch.randn(n, *self.noise_shape, device=device)
