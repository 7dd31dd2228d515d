"""A row and a timing to vary."""

from __future__ import annotations

from training.latencies import Latency
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
LATENCY = Latency(
    dataset="mnist",
    stage="purify",
    defense="autoencoder",
    batch=1,
    precision="fp32",
    runtime="onnxruntime",
    device="a processor, 2 threads",
    p50_ms=2.0,
    p95_ms=3.0,
    p99_ms=4.0,
    n=100,
    commit="c",
)
