"""LitServe with batching on, after lightning.ai/docs/litserve/features/batching: decode, batch, predict, unbatch."""

import os
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from tests.benchmarks.task import MAX_BATCH, Array, OnnxModels, decode


class Api(litserve.LitAPI):  # type: ignore[misc]  # no types where linters run
    """Pictures come as the field `content` of a form, which is LitServe's way for files."""

    def setup(self, device: str) -> None:
        self._models = OnnxModels()

    def decode_request(self, request: Request) -> Array:
        # LitServe reads the annotation, so that it must be no string, and hands over the form in its place.
        return decode(request["content"].file.read())

    def batch(self, inputs: list[Array]) -> Array:
        return np.concatenate(inputs)

    def predict(self, x: Array) -> list[dict[str, Any]]:
        return self._models(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Api(max_batch_size=MAX_BATCH, batch_timeout=0.002), accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", generate_client_file=False)
