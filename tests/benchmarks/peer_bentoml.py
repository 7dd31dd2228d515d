"""BentoML with adaptive batching on, after docs.bentoml.com/en/latest/get-started/adaptive-batching.html."""

from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from tests.benchmarks.task import MAX_BATCH, OnnxModels, pixels


@bentoml.service(workers=1, traffic={"timeout": 30})
class Peer:
    """Pictures come as the field `images` of a form."""

    def __init__(self) -> None:
        self._models = OnnxModels()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=1000, route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, images: list[Image]) -> list[dict[str, Any]]:
        """An answer per picture."""
        return self._models(np.concatenate([pixels(image) for image in images]))
