"""`python -m training export`: torch weights to verified ONNX graphs and their manifest entries."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from service import manifest as manifests
from service.manifest import Manifest
from training import served
from training.commit import current_commit
from training.data import Examples
from training.entries import enter_dataset, enter_defense
from training.graph_files import Bench
from training.onnx_graphs import stored_weights, write_weights
from training.pipeline import freeze
from training.plans import TrainedClassifier, TrainedPurifier, classifier_plans, purifier_plans
from training.sampling import write_samples


def export_dataset(
    dataset: str,
    classifier: TrainedClassifier,
    purifiers: tuple[TrainedPurifier, ...],
    *,
    test: Examples,
    models: Path,
) -> Manifest:
    """Write a data set's graphs, weights, samples and manifest entries; other data sets' entries stay.

    Every graph is compared with the torch module it was made from on test images, and its clean accuracy is
    measured on the file itself.

    Raises:
        ExportError: a graph disagrees with torch by more than 1e-4 on logits or purified images, or by more than
            1e-3 of their length on gradients.
    """
    folder = models / f".{dataset}.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    freeze(classifier.module).cpu().to(memory_format=torch.contiguous_format)
    stored = {"classifier": write_weights(classifier.module, folder / "classifier.weights")}
    for purifier in purifiers:
        freeze(purifier.module).to("cpu")
        stored[purifier.defense] = write_weights(purifier.module, folder / f"{purifier.defense}.weights")
    samples = write_samples(dataset, test, folder)
    bench = Bench(dataset, folder, stored, test, folder / "classifier.onnx", current_commit())
    plans = [*classifier_plans(classifier)]
    plans += [plan for purifier in purifiers for plan in purifier_plans(purifier, classifier.module)]
    graphs = [bench.write(plan) for plan in plans]
    # Only now, when everything has passed, do the new files take the old ones' place.
    shutil.rmtree(models / dataset, ignore_errors=True)
    folder.rename(models / dataset)
    return enter_dataset(models, dataset, graphs, samples)


def export_defense(
    dataset: str, trained: TrainedPurifier | TrainedClassifier, *, test: Examples, models: Path
) -> Manifest:
    """Write one defense's graphs, weights and manifest entries beside a data set's others, in place of its old ones.

    A purifier is exported with the shipped classifier behind it.

    Raises:
        ExportError: as in `export_dataset`.
        ManifestError: the data set has no shipped classifier.
    """
    manifest = manifests.read(models)
    shipped = manifest.graph(dataset, "classifier")
    classifier = served.load_classifier(models, manifest, dataset).to(memory_format=torch.contiguous_format)
    folder = models / f".{dataset}.{trained.defense}.new"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(models / dataset, folder)
    freeze(trained.module).cpu().to(memory_format=torch.contiguous_format)
    stored = {
        "classifier": stored_weights(classifier, folder / "classifier.weights"),
        trained.defense: write_weights(trained.module, folder / f"{trained.defense}.weights"),
    }
    bench = Bench(dataset, folder, stored, test, folder / Path(shipped.file).name, current_commit())
    plans = purifier_plans(trained, classifier) if isinstance(trained, TrainedPurifier) else classifier_plans(trained)
    graphs = [bench.write(plan) for plan in plans]
    shutil.rmtree(models / dataset)
    folder.rename(models / dataset)
    return enter_defense(models, dataset, graphs)
