"""A models folder that is not what its manifest says is refused, with the file and the reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import manifest as manifests
from service.errors import ManifestError


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models_dir, tmp_path / "models"))


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / manifests.FILE_NAME
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def verify(folder: Path) -> None:
    manifests.verify(folder, manifests.read(folder))


def test_an_untouched_folder_passes(folder: Path) -> None:
    verify(folder)
    for graph in manifests.read(folder).graphs:
        assert hashlib.sha256((folder / graph.file).read_bytes()).hexdigest() == graph.sha256


@pytest.mark.parametrize(
    "file", ["mnist/mnist-classifier.onnx", "mnist/mnist-classifier.bin", "fashion-mnist/samples.npz"]
)
def test_a_tampered_file_is_refused(folder: Path, file: str) -> None:
    path = folder / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ManifestError, match=rf"{path.name} has SHA-256 [0-9a-f]{{64}}, the manifest says"):
        verify(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "mnist/mnist-classifier.bin").unlink()
    with pytest.raises(ManifestError, match=r"mnist-classifier.bin is named by the manifest but does not exist"):
        verify(folder)


@pytest.mark.parametrize("outside", ["../outside.onnx", "/etc/hostname", "mnist/../../outside.onnx"])
def test_a_path_outside_the_folder_is_refused(folder: Path, outside: str) -> None:
    (folder.parent / "outside.onnx").write_bytes(b"")
    change(folder, lambda content: content["graphs"][0].update(file=outside))
    with pytest.raises(ManifestError, match="lies outside"):
        verify(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    path = folder / "mnist/mnist-classifier.onnx"
    shutil.move(path, folder.parent / "elsewhere.onnx")
    path.symlink_to(folder.parent / "elsewhere.onnx")
    with pytest.raises(ManifestError, match="lies outside"):
        verify(folder)


@pytest.mark.parametrize(
    ("edit", "fragment"),
    [
        (lambda content: content.update(version=2), "version"),
        (lambda content: content.update(surprise=1), "surprise"),
        (lambda content: content["graphs"][0].update(sha256="abc"), "sha256"),
        (lambda content: content["graphs"][0].update(kind="oracle"), "kind"),
        (lambda content: content.pop("class_names"), "class_names"),
    ],
)
def test_a_broken_schema_is_refused(folder: Path, edit: Callable[[dict[str, Any]], None], fragment: str) -> None:
    change(folder, edit)
    with pytest.raises(ManifestError, match=fragment):
        manifests.read(folder)


def test_what_breaks_the_schema_is_one_sentence_that_quotes_it(folder: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["graphs"][0].update(kind="oracle" * 1000, opset="x")

    change(folder, edit)
    with pytest.raises(ManifestError) as refused:
        manifests.read(folder)
    sentence = str(refused.value)
    assert "breaks the schema: graphs.0.kind: Input should be 'classifier', 'purifier'" in sentence
    assert "found 'oracleoracle" in sentence
    assert sentence.endswith(" (1 more)")
    assert len(sentence) < 500
    assert "\n" not in sentence


@pytest.mark.parametrize("entries", ["graphs", "samples"])
def test_what_is_of_a_data_set_that_is_not_listed_is_refused(folder: Path, entries: str) -> None:
    change(folder, lambda content: content[entries][0].update(dataset="cifar"))
    with pytest.raises(ManifestError, match=r"'mnist/.*' is of dataset 'cifar'; allowed: mnist, fashion-mnist$"):
        manifests.read(folder)


@pytest.mark.parametrize(
    ("name", "why"), [("mnist/\0x", "embedded null byte"), ("a" * 5000, "File name too long")], ids=["NUL", "too long"]
)
def test_a_name_that_no_file_can_have_is_refused(folder: Path, name: str, why: str) -> None:
    change(folder, lambda content: content["graphs"][0].update(file=name))
    with pytest.raises(ManifestError, match=f"the manifest names '.*, which cannot be read: {why}$") as refused:
        verify(folder)
    assert len(str(refused.value)) < 200


def test_no_manifest_and_no_json_are_refused(folder: Path) -> None:
    path = folder / manifests.FILE_NAME
    path.write_text("{")
    with pytest.raises(ManifestError, match=r"breaks the schema: Invalid JSON: EOF [^\n]* line 1 column 1$"):
        manifests.read(folder)
    path.unlink()
    with pytest.raises(ManifestError, match="does not exist; give the folder that holds"):
        manifests.read(folder)
    path.mkdir()
    with pytest.raises(ManifestError, match="cannot be read"):
        manifests.read(folder)


def test_the_default_defense_comes_first(models_dir: Path) -> None:
    manifest = manifests.read(models_dir)
    assert manifest.defenses("mnist") == ("autoencoder", "distillation", "puvae")
    renamed = tuple(
        graph.model_copy(update={"defense": "amber"}) if graph.defense == "puvae" else graph
        for graph in manifest.graphs
    )
    assert manifest.model_copy(update={"graphs": renamed}).defenses("mnist") == ("autoencoder", "amber", "distillation")


def test_a_defense_is_a_purifier_or_a_classifier_of_its_own(models_dir: Path) -> None:
    manifest = manifests.read(models_dir)
    assert manifest.purifier("mnist", "distillation") is manifest.purifier("mnist", "none") is None
    assert manifest.classifier("mnist", "distillation").name == "mnist-classifier-distillation"
    assert manifest.classifier("mnist", "puvae") == manifest.classifier("mnist", "none")
    assert manifest.defenses("fashion-mnist") == ("autoencoder",)
    # The other classifier has one precision, whatever that of the plain one.
    assert manifest.classifier("mnist", "distillation", "int8").precision == "fp32"
    with pytest.raises(ManifestError, match=r"no classifier .* precision 'int8'"):
        manifest.classifier("mnist", "puvae", "int8")


def test_a_graph_that_is_not_there_is_named(models_dir: Path) -> None:
    manifest = manifests.read(models_dir)
    with pytest.raises(ManifestError, match="no pipeline for dataset 'mnist' with defense 'none'"):
        manifest.graph("mnist", "pipeline")
