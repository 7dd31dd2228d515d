"""The fixtures of the service's tests, for what stands around it."""

from tests.service.conftest import models_dir, settings

__all__ = ["models_dir", "settings"]
