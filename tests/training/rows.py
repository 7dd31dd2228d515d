"""A row to vary."""

from __future__ import annotations

from training.results import Row

ROW = Row(
    dataset="mnist",
    classifier="vgg16",
    defense="autoencoder",
    attack="fgsm",
    norm="linf",
    eps=0.6,
    knowledge="oblivious",
    noise="zero",
    steps=1,
    step_size=0.6,
    restarts=1,
    eot=1,
    seed=0,
    split="test",
    n=10_000,
    clean_accuracy=0.99,
    robust_accuracy=0.95,
    ci_low=0.94,
    ci_high=0.96,
    artefact="a",
    precision="fp32",
    runtime="onnxruntime",
    device="cpu",
    commit="c",
)
