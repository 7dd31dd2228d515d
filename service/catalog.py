"""models/manifest.json to verified, warmed models: what the routes and the evaluation call.

Knows no HTTP. Arrays are NumPy float32; images are (N, 1, 28, 28) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from service import manifest as manifests
from service.attacks import BlackBox, WhiteBox
from service.errors import GraphError, ManifestError, ParameterError, shortened
from service.inference import Session
from service.precision import Precision, PrecisionChoice, choose
from service.runtime import CUDA, DeviceChoice, Runtime
from service.samples import SampleSet, read_samples
from service.sessions import Sessions
from service.victims import GradientModel, PipelineAnswers, seen_through

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
NO_DEFENSE = "none"
DEFAULT_DEFENSE = "autoencoder"
# What every data set must have, so that nothing is found missing in a request.
_REQUIRED: tuple[tuple[manifests.Kind, str], ...] = (
    ("classifier", NO_DEFENSE),
    ("classifier_gradient", NO_DEFENSE),
    ("purifier", DEFAULT_DEFENSE),
    ("pipeline", DEFAULT_DEFENSE),
    ("pipeline_gradient", DEFAULT_DEFENSE),
)


class Classifier:
    """Images to logits (N, 10)."""

    def __init__(self, graph: manifests.Graph, session: Session) -> None:
        self.graph = graph
        self.session = session

    def logits(self, images: FloatArray) -> FloatArray:
        """Logits (N, 10) of images (N, 1, 28, 28)."""
        return self.session.run(images=images)["logits"]


class Purifier:
    """Images and Gaussian noise on the latent to purified images."""

    def __init__(self, graph: manifests.Graph, session: Session) -> None:
        self.graph = graph
        self.session = session

    def purify(self, images: FloatArray, seed: int | None = None) -> FloatArray:
        """Purified images (N, 1, 28, 28) in [0, 1]; without a seed the noise is zero, with one it is drawn."""
        return self._purified(images, noise(self.graph, len(images), seed))

    def purify_each(self, images: FloatArray, seeds: Sequence[int | None]) -> FloatArray:
        """As `purify` answers to each image alone with its own seed, in one batch."""
        return self._purified(images, np.concatenate([noise(self.graph, 1, seed) for seed in seeds]))

    def _purified(self, images: FloatArray, draws: FloatArray) -> FloatArray:
        return self.session.run(images=images, noise=draws)["purified_images"]


class Catalog:
    """The models of a folder, on one device. `load` verifies and warms them; `sessions` has them as they run.

    Raises (from `load`):
        ManifestError: the manifest or a file is missing, malformed or does not match its hash.
        DeviceError: the device cannot be had.
        GraphError: what answers by default cannot be opened. Later, whatever opens another graph raises it for that.
    """

    def __init__(
        self, folder: Path, manifest: manifests.Manifest, runtime: Runtime, precision: PrecisionChoice = "fp32"
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.runtime = runtime
        self.precision_asked = precision
        self.sessions = Sessions(folder, runtime)
        self.precision = choose(precision, on_cuda=self._on_cuda(), shipped=manifest.precisions)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: DeviceChoice = "auto",
        threads: int | None = None,
        precision: PrecisionChoice = "fp32",
    ) -> Catalog:
        """`verified`, and what answers by default loaded and run.

        Raises:
            ManifestError: a file is not what the manifest says, or a data set lacks what requests need.
            DeviceError: the device cannot be used.
            GraphError: what answers by default cannot be opened.
        """
        catalog = cls.verified(folder, device, threads, precision)
        catalog.warm()
        return catalog

    @classmethod
    def verified(cls, folder: Path, device: DeviceChoice, threads: int | None, precision: PrecisionChoice) -> Catalog:
        """Every file compared with the manifest, and no graph loaded, but one where it shows whether a GPU is had.

        `precision` is that of the classifiers which answer; purifiers and what is attacked are always fp32.

        Raises:
            ManifestError: a file is not what the manifest says, or a data set lacks what requests need.
            DeviceError: the device cannot be used.
        """
        manifest = manifests.read(folder)
        manifests.verify(folder, manifest)
        catalog = cls(folder, manifest, Runtime(device, threads), precision)
        catalog.check()
        return catalog

    def _on_cuda(self) -> bool:
        """Whether graphs run on a GPU: an engine that offers CUDA opens them on the CPU where there is no driver."""
        if not self.runtime.uses_cuda or self.runtime.asked == "cuda":
            return self.runtime.uses_cuda
        return self.sessions.of(self.manifest.graph(self.datasets[0], "classifier")).provider == CUDA

    def check(self) -> None:
        """Every data set has the graphs of the undefended and the default answer, and readable samples.

        Raises:
            ManifestError: one of these is missing or broken.
        """
        for dataset in self.datasets:
            for kind, defense in _REQUIRED:
                self.manifest.graph(dataset, kind, defense)
            self.manifest.graph(dataset, "classifier", precision=self.precision)
            self.samples(dataset)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return self.manifest.datasets

    def defenses(self, dataset: str) -> tuple[str, ...]:
        """Defenses that a request may name; 'none' is the last."""
        return (*self.manifest.defenses(dataset), NO_DEFENSE)

    def class_names(self, dataset: str) -> tuple[str, ...]:
        """The ten class names of a data set."""
        return self.manifest.class_names[self._known(dataset)]

    def classifier(self, dataset: str, defense: str = NO_DEFENSE, precision: Precision | None = None) -> Classifier:
        """The classifier that answers for a defense, in the precision that is served unless another is named.

        Raises:
            ParameterError: the data set or the defense is unknown.
        """
        graph = self.manifest.classifier(dataset, self._named(dataset, defense), precision or self.precision)
        return Classifier(graph, self.sessions.of(graph))

    def purifier(self, dataset: str, defense: str) -> Purifier | None:
        """The purifier that a defense puts before its classifier; None where it puts nothing there.

        Raises:
            ParameterError: the data set or the defense is unknown.
        """
        graph = self.manifest.purifier(dataset, self._named(dataset, defense))
        return None if graph is None else Purifier(graph, self.sessions.of(graph))

    def has_purifier(self, dataset: str, defense: str) -> bool:
        """Whether a defense puts a purifier before its classifier.

        Raises:
            ParameterError: the data set or the defense is unknown.
        """
        return self.manifest.purifier(dataset, self._named(dataset, defense)) is not None

    def check_purifies(self, dataset: str, defense: str) -> None:
        """A defense gives an image back: it has a purifier, or is none at all.

        Raises:
            ParameterError: it is a classifier alone, or the data set or the defense is unknown.
        """
        names = [name for name in self.manifest.defenses(self._known(dataset)) if self.manifest.purifier(dataset, name)]
        if self._named(dataset, defense) not in (*names, NO_DEFENSE):
            raise ParameterError(
                f"defense {shortened(defense)} of {dataset} is another classifier and gives no image back; allowed: "
                f"{', '.join((*names, NO_DEFENSE))}"
            )

    def pipeline(self, dataset: str, defense: str) -> tuple[manifests.Graph, Session]:
        """The fused graph of purifier and classifier: (images, noise) to logits."""
        graph = self.manifest.graph(self._known(dataset), "pipeline", defense)
        return graph, self.sessions.of(graph)

    def white_box(self, dataset: str, defense: str = NO_DEFENSE, seed: int | None = None, draws: int = 0) -> WhiteBox:
        """What an attacker sees who knows the plain classifier ('none') or the whole of a defense.

        With a purifier, the latent noise is fixed, zero without a seed, one draw with one; or, where `draws` is above
        0, every look averages over as many fresh draws, of which the seed (default 0) makes the first.

        Raises:
            ParameterError: the data set or the defense is unknown, or no gradient is shipped for it.
        """
        purifier = self.purifier(dataset, defense)
        gradient = self.sessions.of(self.gradient(dataset, defense))
        if purifier is None:
            return GradientModel(self.classifier(dataset, defense, "fp32").session, gradient)
        _, pipeline = self.pipeline(dataset, defense)
        return seen_through(
            lambda draw: GradientModel(pipeline, gradient, draw), noise(purifier.graph, 1, seed), seed, draws
        )

    def black_box(self, dataset: str, defense: str, seed: int | None = None, draws: int = 0) -> BlackBox:
        """What an attacker sees who may only ask a defense; the noise as in `white_box`. Needs no gradient.

        Raises:
            ParameterError: the data set or the defense is unknown.
        """
        purifier = self.purifier(dataset, defense)
        if purifier is None:
            return self.classifier(dataset, defense, "fp32")
        _, pipeline = self.pipeline(dataset, defense)
        return seen_through(lambda draw: PipelineAnswers(pipeline, draw), noise(purifier.graph, 1, seed), seed, draws)

    def samples(self, dataset: str) -> SampleSet:
        """The shipped test images of a data set.

        Raises:
            ParameterError: the data set is unknown.
            ManifestError: none are shipped for it, or they are broken; never after `check`.
        """
        found = self._samples.get(self._known(dataset))
        if found is None:
            raise ManifestError(f"the manifest has no samples for dataset {dataset!r}")
        return found

    def warm(self) -> None:
        """Load what answers by default and run it once, since a first run is 15 times slower."""
        for dataset in self.datasets:
            self.classifier(dataset)
            self.purifier(dataset, DEFAULT_DEFENSE)

    def warm_rest(self) -> None:
        """Load what attacks, benchmarks and /v2 ask of the classifiers and the default defense.

        The graphs of further defenses load on first use. One that cannot be loaded keeps no other from it: what asks
        for it is told.
        """
        for graph in self.manifest.graphs:
            if graph.defense in (NO_DEFENSE, DEFAULT_DEFENSE) and graph.precision in ("fp32", self.precision):
                with suppress(GraphError):
                    self.sessions.of(graph)

    @cached_property
    def _samples(self) -> Mapping[str, SampleSet]:
        return {entry.dataset: read_samples(self.folder, entry) for entry in self.manifest.samples}

    def gradient(self, dataset: str, defense: str) -> manifests.Graph:
        """The graph that has the gradient of the plain classifier ('none') or of the whole of a defense.

        Raises:
            ParameterError: the data set or the defense is unknown, or no gradient is shipped for it.
        """
        self._named(dataset, defense)
        kinds = {"classifier_gradient", "pipeline_gradient"}
        shipped = {g.defense: g for g in self.manifest.graphs if g.dataset == dataset and g.kind in kinds}
        if defense not in shipped:
            raise ParameterError(
                f"no gradient is shipped for defense {defense!r} of {dataset}, so that it cannot be attacked "
                f"as a white box; allowed: {', '.join(shipped) or 'none'}"
            )
        return shipped[defense]

    def _named(self, dataset: str, defense: str) -> str:
        allowed = self.defenses(self._known(dataset))
        if defense not in allowed:
            raise ParameterError(f"unknown defense {shortened(defense)} for {dataset}; allowed: {', '.join(allowed)}")
        return defense

    def _known(self, dataset: str) -> str:
        if dataset not in self.datasets:
            raise ParameterError(f"unknown dataset {shortened(dataset)}; allowed: {', '.join(self.datasets)}")
        return dataset


def noise(graph: manifests.Graph, n: int, seed: int | None) -> FloatArray:
    """Standard normal noise for n images of a graph's `noise` input: zero without a seed, else drawn from it.

    Raises:
        ManifestError: the graph has no noise input.
    """
    spec = graph.input("noise")
    if spec is None:
        raise ManifestError(f"graph {graph.name!r} has no input 'noise'")
    shape = tuple(n if size == "N" else size for size in spec.shape)
    if seed is None:
        return np.zeros(shape, np.float32)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
