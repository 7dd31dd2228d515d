"""The errors of the training package; each message quotes what was found and what is allowed."""


class TrainingError(Exception):
    """Base of every error that `python -m training` reports without a traceback."""


class BackboneError(TrainingError):
    """The ImageNet weights cannot be read or do not fit VGG-16."""


class DataError(TrainingError):
    """A data set is unknown, missing or unreadable."""


class CheckpointError(TrainingError):
    """A checkpoint is missing or belongs to another configuration."""


class ExportError(TrainingError):
    """An exported graph disagrees with the torch module it was made from."""


class EvaluationError(TrainingError):
    """An evaluation cannot run, or one of its gates failed."""


class BallError(EvaluationError):
    """An adversarial image leaves [0, 1] or the ball that its eps allows."""


class GateError(EvaluationError):
    """An evaluation was measured, and a check on what it measured failed."""
