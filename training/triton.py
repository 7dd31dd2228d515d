"""`python -m training export --triton`: the exported graphs as a model repository of NVIDIA's Triton.

Under the names that /v2 has for them: classifiers, purifiers and fused pipelines, and for each purifier an ensemble
that hands its images to the classifier. Graphs are copied, not made: it needs neither torch nor checkpoints.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service import manifest as manifests
from service.catalog import Catalog
from service.oip.models import MAX_BATCH, VERSION, Model, offered
from service.runtime import DeviceChoice, Runtime
from service.settings import Settings
from training import pbtxt
from training.errors import ExportError
from training.pbtxt import Word

MARK = "# Written by `python -m training export --triton`, which replaces what it wrote.\n"
CONFIG = "config.pbtxt"
_LABELS = "labels.txt"
_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "cuda": "KIND_GPU"}


@dataclass(frozen=True)
class _Entry:
    """A model of the repository: its configuration, the classes its logits name, and the files of its version."""

    config: dict[str, Any]
    class_names: tuple[str, ...]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.config["name"])


def write_repository(models: Path, folder: Path, datasets: Sequence[str], device: DeviceChoice) -> list[str]:
    """Write the graphs of some data sets into `folder`; returns the names that Triton will serve them by.

    `device` says where Triton runs them, `auto` on a GPU where there is one. Files of others in `folder` stay.

    Raises:
        ManifestError: a file of `models` is not what the manifest says.
        ExportError: a data set is not there, a model's folder was not written by this function, or none can be.
    """
    manifest = manifests.read(models)
    manifests.verify(models, manifest)
    if unknown := sorted(set(datasets) - set(manifest.datasets)):
        raise ExportError(f"{models} has no graphs of {', '.join(unknown)}; allowed: {', '.join(manifest.datasets)}")
    served = offered(Catalog(models, manifest, Runtime("cpu"))).values()
    chosen = [model for model in served if model.graph.dataset in datasets]
    entries = [_single(models, model, _KINDS[device]) for model in chosen]
    for purifier in (model for model in chosen if model.graph.kind == "purifier"):
        behind = manifest.classifier(purifier.graph.dataset, purifier.graph.defense)
        entries += [_ensemble(purifier, model) for model in chosen if model.graph == behind]
    for entry in entries:
        _refuse_foreign(folder / entry.name)
    copied: dict[Path, Path] = {}
    try:
        for entry in entries:
            _write(folder / entry.name, entry, copied)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error}") from error
    return [entry.name for entry in entries]


def _single(models: Path, model: Model, kind: str) -> _Entry:
    """One graph, batched as the service batches: all that waits at once, a bounded queue, and a deadline."""
    limits = Settings.model_construct()
    config = model.config()
    config["input"] = _tensors(config["input"])
    config["output"] = _tensors(config["output"])
    config["dynamic_batching"] = {
        "preferred_batch_size": [MAX_BATCH],
        "max_queue_delay_microseconds": 0,
        "default_queue_policy": {
            "timeout_action": Word("REJECT"),
            "default_timeout_microseconds": int(limits.request_timeout_s * 1e6),
            "max_queue_size": limits.max_waiting,
        },
    }
    config["instance_group"] = [{"count": 1, "kind": Word(kind)}]
    # A graph names its weights relative to itself.
    files = {Path(file.file).name: models / file.file for file in model.graph.weights}
    return _Entry(config, model.class_names, {"model.onnx": models / model.graph.file, **files})


def _ensemble(purifier: Model, classifier: Model) -> _Entry:
    """A purifier and the classifier behind it; the purified images are an output too."""
    images, purified, logits = "images", "purified_images", "logits"
    inputs = {spec.name: spec.name for spec in purifier.inputs}
    first, second = purifier.config(), classifier.config()
    steps = [
        _step(purifier.name, inputs, {purified: purified}),
        _step(classifier.name, {images: purified}, {logits: logits}),
    ]
    config = {
        "name": f"{purifier.name}_ensemble",
        "platform": "ensemble",
        "version_policy": first["version_policy"],
        "max_batch_size": MAX_BATCH,
        "input": _tensors(first["input"]),
        "output": _tensors([*second["output"], *first["output"]]),
        "ensemble_scheduling": {"step": steps},
    }
    return _Entry(config, classifier.class_names)


def _step(name: str, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    """The latest version of a model; tensors of the model by the names that the ensemble has for them."""
    maps = {"input_map": pbtxt.entries(inputs), "output_map": pbtxt.entries(outputs)}
    return {"model_name": name, "model_version": -1, **maps}


def _tensors(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without `optional`, for the graph itself has no default; logits name their classes."""
    tensors = []
    for config in configs:
        tensor = {"name": config["name"], "data_type": Word(config["data_type"]), "dims": config["dims"]}
        tensors.append({**tensor, "label_filename": _LABELS} if config["name"] == "logits" else tensor)
    return tensors


def _refuse_foreign(folder: Path) -> None:
    config = folder / CONFIG
    ours = config.is_file() and config.read_text(errors="replace").startswith(MARK)
    if folder.exists() and not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(f"{folder} is there and was not written by `export --triton`; move it away, or name another")


def _write(folder: Path, entry: _Entry, copied: dict[Path, Path]) -> None:
    """The configuration first: it marks the folder as ours, should this be interrupted."""
    version = folder / VERSION
    version.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(MARK + pbtxt.text(entry.config))
    if any("label_filename" in tensor for tensor in entry.config["output"]):
        (folder / _LABELS).write_text("".join(f"{name}\n" for name in entry.class_names))
    for name, source in entry.files.items():
        _put(copied.get(source, source), version / name, link=source in copied)
        copied.setdefault(source, version / name)
    if not entry.files:
        (version / ".keep").touch()  # Triton wants the folder, and object stores keep no empty ones


def _put(source: Path, target: Path, *, link: bool) -> None:
    """Copy a file in one step; a link to one of the repository does as well, where the file system has them."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    if not (link and _linked(temporary, source)):
        shutil.copyfile(source, temporary)
    temporary.replace(target)


def _linked(new: Path, source: Path) -> bool:
    try:
        new.hardlink_to(source)
    except OSError:
        return False
    return True
