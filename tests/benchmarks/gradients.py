"""Gradients a second of an evaluation, times those of plain PyTorch: python -m tests.benchmarks.gradients"""

from __future__ import annotations

import json
import statistics
import time

import torch

from service import manifest as manifests
from tests.benchmarks.task import DATASET, MODELS
from training.measurement import CLEAN
from training.pipeline import TorchWhiteBox
from training.served import load_classifier
from training.white_boxes import Victim, white_box

_BATCH = 50
_ROUNDS = 15


def main() -> None:
    """Print the medians of one thread's images a second relative to plain PyTorch's."""
    torch.set_num_threads(1)
    models = {
        "plain": TorchWhiteBox(load_classifier(MODELS, manifests.read(MODELS), DATASET)),
        "ours": white_box(Victim(MODELS, DATASET, "cpu"), CLEAN, 0),
    }
    images, labels = torch.rand(_BATCH, 1, 28, 28), torch.arange(_BATCH) % 10
    durations: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(_ROUNDS + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model.loss_gradient(images, labels)
            if turn:
                durations[name].append(time.perf_counter() - began)
    ratio = statistics.median(durations["plain"]) / statistics.median(durations["ours"])
    print(json.dumps({"gradients a second, ours / plain PyTorch": round(ratio, 2), "threads": 1, "batch": _BATCH}))


if __name__ == "__main__":
    main()
