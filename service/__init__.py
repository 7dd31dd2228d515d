"""Serves the models over HTTP; never imports torch or training."""

# Here and not in the distribution's metadata, since neither `make serve` nor the image installs a distribution.
__version__ = "0.1.0"
