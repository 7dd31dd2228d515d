"""What the work folder holds of one data set: trained weights, and the attacked sets that they learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from service import manifest as manifests
from training import classifiers, served
from training.attack_sets import RECIPE
from training.classifiers.vgg16 import VGG16
from training.errors import CheckpointError
from training.fingerprint import fingerprint
from training.fitting import read_config
from training.plans import TrainedClassifier, TrainedPurifier
from training.purifiers import ARCHITECTURES

_WEIGHTS = "weights.pt"


@dataclass(frozen=True)
class WorkFolder:
    """`root` holds a folder for each data set; `models` are the shipped ones."""

    root: Path
    dataset: str
    models: Path

    def place(self, name: str) -> Path:
        """Where a classifier or a defense is trained."""
        return self.root / self.dataset / name

    def holds(self, name: str) -> bool:
        """Whether it was trained there."""
        return (self.place(name) / _WEIGHTS).exists()

    def attacks(self, classifier: nn.Module) -> Path:
        """Where the attacked sets of a classifier are kept."""
        return self.place(f"attacks-{fingerprint(classifier)}-{RECIPE}")

    def classifier(self) -> nn.Module:
        """The trained classifier; where none was trained, the shipped one.

        Raises:
            CheckpointError: none was trained, and none is shipped.
        """
        if self.holds("classifier"):
            classifier = VGG16()
            classifier.load_state_dict(self._weights("classifier"))
            return classifier.eval()
        if not (self.models / manifests.FILE_NAME).exists():
            path = self.place("classifier") / _WEIGHTS
            raise CheckpointError(f"{path} does not exist; run `python -m training classifier` first")
        return served.load_classifier(self.models, manifests.read(self.models), self.dataset)

    def trained_classifier(self) -> TrainedClassifier:
        """The classifier with the configuration that trained it.

        Raises:
            CheckpointError: none was trained.
        """
        return TrainedClassifier(self.classifier(), read_config(self.place("classifier")))

    def trained(self, defense: str) -> TrainedPurifier | TrainedClassifier:
        """A trained defense.

        Raises:
            CheckpointError: it was not trained.
        """
        config = read_config(self.place(defense))
        if defense == "distillation":
            student = classifiers.ARCHITECTURES[config["architecture"]]()
            student.load_state_dict(self._weights(defense))
            return TrainedClassifier(student, config, defense)
        module = ARCHITECTURES[config["architecture"]](config["noise_std"])
        module.load_state_dict(self._weights(defense))
        return TrainedPurifier(defense, module, config)

    def _weights(self, name: str) -> dict[str, torch.Tensor]:
        weights: dict[str, torch.Tensor] = torch.load(
            self.place(name) / _WEIGHTS, map_location="cpu", weights_only=True
        )
        return weights
