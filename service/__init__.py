"""Serves the models over HTTP; never imports torch or training."""

import os

# Here and not in the distribution's metadata, since neither `make serve` nor the image installs a distribution.
__version__ = "0.1.0"

# The official builds of ONNX Runtime 1.29 and later report to their maker, and leave an identifier in the user's home,
# unless told not to before they are imported. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
