"""FastAPI and torch eager, as somebody would write it who has read the paper: a route, a model, nothing else."""

from __future__ import annotations

import os
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from service import manifest as manifests
from service.catalog import noise
from tests.benchmarks.task import DATASET, DEFENSE, MODELS, answers, decode
from training.served import load_pipeline

app = FastAPI()
_MANIFEST = manifests.read(MODELS)
_PIPELINE = load_pipeline(MODELS, _MANIFEST, DATASET, DEFENSE)
_NO_NOISE = torch.from_numpy(noise(_MANIFEST.graph(DATASET, "purifier", DEFENSE), 1, None))


@app.post("/predict")
async def receive(request: Request) -> Any:
    """The body is read here, and the model runs in a thread, as FastAPI runs routes that wait for nothing."""

    return await run_in_threadpool(_predict, await request.body())


def _predict(data: bytes) -> dict[str, Any]:
    images = torch.from_numpy(decode(data))
    with torch.inference_mode():
        purified = _PIPELINE.purifier(images, _NO_NOISE)
        logits = _PIPELINE.classifier(torch.cat([images, purified]))
    return answers(logits.numpy())[0]


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
