"""Our attacks against Foolbox's on the same net and images.

The net is trained with label smoothing: where a float32 softmax is 1, Foolbox's gradient loses the label's share (as
torch's cross-entropy does) and ours does not, so that the two agree only where the net is not that sure.
"""

from __future__ import annotations

import foolbox
import numpy as np
import pytest
import torch
from torch import nn

from service.attacks import fgsm, pgd
from training.data import Examples
from training.metrics import accuracy
from training.pipeline import TorchWhiteBox


@pytest.fixture
def fitted(classifier: nn.Module, examples: Examples) -> nn.Module:
    """The tiny net after a few steps, so that there is something to lose."""
    classifier.requires_grad_(True)
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(examples.images), examples.labels, label_smoothing=0.3).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    logits = classifier(examples.images)
    assert (logits.argmax(1) == examples.labels).all()
    assert logits.softmax(1).max() < 0.99
    return classifier.requires_grad_(False)


@pytest.mark.parametrize("eps", [0.05, 0.3, 0.6])
def test_fgsm_equals_foolboxs(fitted: nn.Module, examples: Examples, eps: float) -> None:
    # Grey added, so that neither bound hides a difference, and black and white kept, so that both are met.
    images = examples.images * 0.8 + 0.1 * torch.rand_like(examples.images)
    images[0] = examples.images[0]
    theirs = foolbox.attacks.FGSM(random_start=False).run(
        foolbox.PyTorchModel(fitted, bounds=(0, 1)), images, foolbox.criteria.Misclassification(examples.labels),
        epsilon=eps,
    )  # fmt: skip
    ours = fgsm(TorchWhiteBox(fitted), images, examples.labels, eps=eps).adv_images
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_pgd_equals_foolboxs_step_by_step(fitted: nn.Module, examples: Examples, norm: str, eps: float) -> None:
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    theirs = kind(rel_stepsize=0.1, steps=15, random_start=False).run(
        foolbox.PyTorchModel(fitted, bounds=(0, 1)), examples.images,
        foolbox.criteria.Misclassification(examples.labels), epsilon=eps,
    )  # fmt: skip
    ours = pgd(
        *(TorchWhiteBox(fitted), examples.images, examples.labels),
        eps=eps,
        steps=15,
        step_size=0.1 * eps,
        random_start=False,
        norm="linf" if norm == "linf" else "l2",
        rng=np.random.default_rng(0),
    ).adv_images

    def robust(images: torch.Tensor) -> float:
        return accuracy(fitted(images).argmax(1), examples.labels)

    # Ties and vanishing gradients may turn single signs, hence accuracy and loss rather than pixels.
    assert robust(ours) == pytest.approx(robust(theirs), abs=0.01)
    losses = [nn.functional.cross_entropy(fitted(images), examples.labels).item() for images in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
