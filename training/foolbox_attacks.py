"""Foolbox's attacks on the served classifier, as a second opinion on ours. Foolbox is in the development environment.

In double precision: Foolbox's cross-entropy loses the label's share of the gradient where the softmax rounds to 1,
which float32 does for two MNIST images of three and float64 hardly ever; ours does not lose it in either.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from service.attacks import fgsm, pgd
from training.crafting import Array
from training.pipeline import TorchWhiteBox
from training.protocols import HEADLINE_FGSM_EPS, HEADLINE_PGD_EPS, PGD_STEPS
from training.white_boxes import Victim, classifier


@dataclass(frozen=True)
class Comparison:
    """Largest deviation from Foolbox's FGSM on `comparable` images; images that stand under PGD, theirs and ours."""

    images: int
    comparable: int
    fgsm_deviation: float
    theirs: int
    ours: int


def is_installed() -> bool:
    """Whether Foolbox can be imported."""
    return find_spec("foolbox") is not None


def compare(victim: Victim, images: Array, labels: Array, start: int) -> Comparison:
    """Both libraries' FGSM and PGD at the headline budgets on images (n, 1, 28, 28) from place `start` on."""
    import foolbox  # noqa: PLC0415 - not in every environment, and slow to import

    torch.manual_seed(start)
    device = torch.device(victim.device)
    net = copy.deepcopy(classifier(victim)).double()
    model = TorchWhiteBox(net)
    theirs = foolbox.PyTorchModel(net, bounds=(0, 1), device=device)
    batch, truth = torch.from_numpy(images).double().to(device), torch.from_numpy(labels).to(device)
    criterion = foolbox.criteria.Misclassification(truth)
    their_fgsm = foolbox.attacks.FGSM(random_start=False).run(theirs, batch, criterion, epsilon=HEADLINE_FGSM_EPS)
    our_fgsm = fgsm(model, batch, truth, eps=HEADLINE_FGSM_EPS).adv_images
    below_one = torch.softmax(net(batch), 1).gather(1, truth[:, None])[:, 0] < 1
    deviation = (their_fgsm - our_fgsm).abs().amax((1, 2, 3))[below_one]
    attack = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / PGD_STEPS, steps=PGD_STEPS, random_start=True)
    their_pgd = attack.run(theirs, batch, criterion, epsilon=HEADLINE_PGD_EPS)
    rng = np.random.default_rng([0, start])
    our_pgd = pgd(model, batch, truth, eps=HEADLINE_PGD_EPS, steps=PGD_STEPS, rng=rng).adv_images
    return Comparison(
        images=len(labels),
        comparable=int(below_one.sum()),
        fgsm_deviation=float(deviation.max()) if len(deviation) else 0.0,
        theirs=int((model.logits(their_pgd).argmax(1) == truth).sum()),
        ours=int((model.logits(our_pgd).argmax(1) == truth).sum()),
    )
