"""models/manifest.json as it grows: a data set's entries, or one graph beside another."""

from __future__ import annotations

import json
from pathlib import Path

from service import manifest as manifests
from service.manifest import Graph, Manifest, Samples

CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}


def enter_dataset(models: Path, dataset: str, graphs: list[Graph], samples: Samples) -> Manifest:
    """Put a data set's entries in the place of its old ones; those of others stay."""
    path = models / manifests.FILE_NAME
    old = manifests.read(models) if path.exists() else Manifest(class_names={}, graphs=(), samples=())
    names = {**old.class_names, dataset: CLASS_NAMES[dataset]}
    order = [name for name in CLASS_NAMES if name in names]
    every_graph = [graph for graph in old.graphs if graph.dataset != dataset] + graphs
    every_sample = [entry for entry in old.samples if entry.dataset != dataset] + [samples]
    new = Manifest(
        class_names={name: names[name] for name in order},
        graphs=tuple(sorted(every_graph, key=lambda graph: order.index(graph.dataset))),
        samples=tuple(sorted(every_sample, key=lambda entry: order.index(entry.dataset))),
    )
    return _save(models, new)


def enter_beside(models: Path, source: Graph, entry: Graph) -> Manifest:
    """Put a graph behind `source`, in the place of the one of its own name."""
    old = manifests.read(models)
    kept = [graph for graph in old.graphs if graph.name != entry.name]
    kept.insert(kept.index(source) + 1, entry)
    return _save(models, old.model_copy(update={"graphs": tuple(kept)}))


def enter_defense(models: Path, dataset: str, graphs: list[Graph]) -> Manifest:
    """Put one defense's graphs in the place of its old ones; a new one's behind the others of its data set."""
    old = manifests.read(models)
    defenses = {graph.defense for graph in graphs}
    replaced = [graph.dataset == dataset and graph.defense in defenses for graph in old.graphs]
    kept = [graph for graph, is_old in zip(old.graphs, replaced, strict=True) if not is_old]
    place = max(place for place, graph in enumerate(kept) if graph.dataset == dataset) + 1
    if any(replaced):
        place = replaced.index(True)
    kept[place:place] = graphs
    return _save(models, old.model_copy(update={"graphs": tuple(kept)}))


def _save(models: Path, manifest: Manifest) -> Manifest:
    path = models / manifests.FILE_NAME
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n")
    temporary.replace(path)
    return manifest
