"""FastAPI and plain ONNX Runtime: one call per request, in a thread."""

from __future__ import annotations

import os
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from tests.benchmarks.task import OnnxModels, decode

app = FastAPI()
_MODELS = OnnxModels()


@app.post("/predict")
async def predict(request: Request) -> Any:
    """The first and only answer to the body."""
    data = await request.body()
    return await run_in_threadpool(lambda: _MODELS(decode(data))[0])


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
