"""What is written for Triton fits its schema and the graphs beside it, and its ensembles answer as the fused graphs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]

from service import manifest as manifests
from service.errors import ManifestError
from service.oip.models import MAX_BATCH
from service.settings import Settings
from training import pbtxt
from training.__main__ import main
from training.errors import ExportError
from training.pbtxt import Word
from training.triton import CONFIG, write_repository

ALONE = {
    "mnist-classifier",
    "mnist-autoencoder",
    "mnist-autoencoder_pipeline",
    "mnist-autoencoder_paper",
    "mnist-autoencoder_paper_pipeline",
}
ENSEMBLES = {"mnist-autoencoder_ensemble", "mnist-autoencoder_paper_ensemble"}


@pytest.fixture(scope="module")
def repository(exported_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    assert set(write_repository(exported_models, folder, ["mnist"], "auto")) == ALONE | ENSEMBLES
    return folder


def config(repository: Path, name: str) -> Any:
    from tritonclient.grpc import model_config_pb2

    text = (repository / name / CONFIG).read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def session(repository: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(repository / name / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def tensors(entries: Any) -> list[tuple[str, str, list[int]]]:
    kinds = entries[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    return [(entry.name, kinds[entry.data_type].name, list(entry.dims)) for entry in entries]


def run(repository: Path, name: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As Triton runs a model: an ensemble by its maps, else the graph."""
    asked = config(repository, name)
    assert set(given) == {tensor.name for tensor in asked.input}
    if asked.platform != "ensemble":
        graph = session(repository, name)
        return dict(zip([output.name for output in graph.get_outputs()], graph.run(None, given), strict=True))
    pool = dict(given)
    for step in asked.ensemble_scheduling.step:
        answers = run(repository, step.model_name, {own: pool[name] for own, name in step.input_map.items()})
        pool |= {name: answers[own] for own, name in step.output_map.items()}
    return {tensor.name: pool[tensor.name] for tensor in asked.output}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_a_configuration_says_what_the_graph_beside_it_takes_and_gives(repository: Path, name: str) -> None:
    found, graph = config(repository, name), session(repository, name)
    assert (found.name, found.backend, found.max_batch_size) == (name, "onnxruntime", MAX_BATCH)
    for entries, nodes in ((found.input, graph.get_inputs()), (found.output, graph.get_outputs())):
        assert all(node.type == "tensor(float)" and node.shape[0] == "N" for node in nodes)
        assert tensors(entries) == [(node.name, "TYPE_FP32", node.shape[1:]) for node in nodes]
    assert not any(tensor.optional for tensor in found.input)


def test_waiting_requests_are_batched_at_once_and_bounded_as_in_the_service(repository: Path) -> None:
    found, limits = config(repository, "mnist-autoencoder_pipeline").dynamic_batching, Settings.model_construct()
    assert list(found.preferred_batch_size) == [MAX_BATCH] == [limits.max_batch]
    assert found.max_queue_delay_microseconds == 0
    policy = found.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (limits.max_waiting, 10_000_000)
    assert policy.TimeoutAction.Name(policy.timeout_action) == "REJECT"


@pytest.mark.parametrize("name", sorted(ENSEMBLES))
def test_an_ensemble_answers_as_the_fused_graph_and_gives_the_purified_images_too(repository: Path, name: str) -> None:
    found = config(repository, name)
    assert found.platform == "ensemble"
    assert not found.instance_group  # Triton refuses one
    assert not found.HasField("dynamic_batching")
    assert list((repository / name / "1").iterdir())  # an object store keeps no empty folder
    rng = np.random.default_rng(0)
    given = {
        tensor.name: rng.random((5, *tensor.dims), np.float32)
        if tensor.name == "images"
        else rng.standard_normal((5, *tensor.dims), np.float32)
        for tensor in found.input
    }
    answers = run(repository, name, given)
    fused = run(repository, name.replace("_ensemble", "_pipeline"), given)
    np.testing.assert_allclose(answers["logits"], fused["logits"], rtol=0, atol=1e-5)
    purified = run(repository, name.removesuffix("_ensemble"), given)
    np.testing.assert_array_equal(answers["purified_images"], purified["purified_images"])
    others = [{**given, other: given[other][::-1].copy()} for other in given]
    for other in others:  # every input matters
        assert not np.array_equal(run(repository, name, other)["logits"], answers["logits"])


@pytest.mark.parametrize("name", sorted(ALONE))
def test_files_are_those_that_the_manifest_names(repository: Path, exported_models: Path, name: str) -> None:
    (graph,) = [g for g in manifests.read(exported_models).graphs if g.name.replace("/", "-") == name]
    hashes = {file.name: manifests.sha256(file) for file in (repository / name / "1").iterdir()}
    assert hashes == {"model.onnx": graph.sha256, **{Path(file.file).name: file.sha256 for file in graph.weights}}


def test_weights_of_several_graphs_lie_on_the_disk_once_and_apart_from_the_models(
    repository: Path, exported_models: Path
) -> None:
    inodes = {file.stat().st_ino for file in repository.rglob("classifier.weights")}
    assert len(inodes) == 1
    assert inodes != {(exported_models / "mnist" / "classifier.weights").stat().st_ino}


def test_where_files_cannot_be_linked_they_are_copied(
    exported_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError("no links")))
    write_repository(exported_models, tmp_path, ["mnist"], "cpu")
    assert len({file.stat().st_ino for file in tmp_path.rglob("classifier.weights")}) == 3


@pytest.mark.parametrize("name", ["mnist-classifier", "mnist-autoencoder_pipeline", "mnist-autoencoder_ensemble"])
def test_logits_name_their_classes(repository: Path, name: str) -> None:
    (file,) = {tensor.label_filename for tensor in config(repository, name).output if tensor.name == "logits"}
    assert (repository / name / file).read_text().splitlines() == list("0123456789")
    assert not (repository / "mnist-autoencoder" / file).exists()


@pytest.mark.parametrize(("device", "kind"), [("auto", "KIND_AUTO"), ("cpu", "KIND_CPU"), ("cuda", "KIND_GPU")])
def test_the_device_says_where_triton_runs_them(exported_models: Path, tmp_path: Path, device: Any, kind: str) -> None:
    write_repository(exported_models, tmp_path, ["mnist"], device)
    (group,) = config(tmp_path, "mnist-classifier").instance_group
    assert (group.Kind.Name(group.kind), group.count) == (kind, 1)


def test_written_again_it_is_replaced_and_what_others_put_there_stays(exported_models: Path, tmp_path: Path) -> None:
    write_repository(exported_models, tmp_path, ["mnist"], "cpu")
    others = [tmp_path / "resnet" / CONFIG, tmp_path / "mnist-classifier" / "2" / "model.onnx"]
    for other in others:
        other.parent.mkdir()
        other.write_text("theirs")
    (tmp_path / "mnist-classifier" / "1" / "model.onnx").write_bytes(b"damaged")
    write_repository(exported_models, tmp_path, ["mnist"], "cuda")
    assert all(other.read_text() == "theirs" for other in others)
    session(tmp_path, "mnist-classifier")
    (group,) = config(tmp_path, "mnist-classifier").instance_group
    assert group.Kind.Name(group.kind) == "KIND_GPU"
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_folder_of_a_model_of_someone_else_is_refused_before_anything_is_written(
    exported_models: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "mnist-autoencoder_ensemble" / CONFIG
    foreign.parent.mkdir()
    foreign.write_text("name: 'mine'")
    with pytest.raises(ExportError, match="mnist-autoencoder_ensemble is there and was not written by"):
        write_repository(exported_models, tmp_path, ["mnist"], "cpu")
    assert list(tmp_path.iterdir()) == [foreign.parent]
    foreign.unlink()
    write_repository(exported_models, tmp_path, ["mnist"], "cpu")


def test_a_file_in_the_place_of_the_folder_is_named(exported_models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="file cannot be written"):
        write_repository(exported_models, tmp_path / "file", ["mnist"], "cpu")


def test_a_data_set_without_graphs_is_refused(exported_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no graphs of fashion-mnist; allowed: mnist"):
        write_repository(exported_models, tmp_path, ["mnist", "fashion-mnist"], "cpu")
    assert not list(tmp_path.iterdir())


def test_graphs_that_are_not_what_the_manifest_says_are_never_written(exported_models: Path, tmp_path: Path) -> None:
    shutil.copytree(exported_models, tmp_path / "models")
    with (tmp_path / "models" / "mnist" / "classifier.weights").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ManifestError, match="SHA-256"):
        write_repository(tmp_path / "models", tmp_path / "triton", ["mnist"], "cpu")
    assert not (tmp_path / "triton").exists()


def test_the_command_needs_neither_a_dataset_nor_checkpoints(
    exported_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--models-dir", str(exported_models), "--work-dir", str(tmp_path / "none")]
    assert main([*command, "--triton", str(tmp_path / "triton")]) == 0
    assert "mnist-autoencoder_ensemble" in capsys.readouterr().out
    assert main(command) == 1
    assert "export needs --dataset or --triton; allowed data sets: mnist, fashion-mnist" in capsys.readouterr().err


def test_text_of_every_kind_of_value_is_read_back() -> None:
    from tritonclient.grpc import model_config_pb2

    odd = 'a "name" \\ with\n everything: é'
    message = {
        "name": odd,
        "max_batch_size": 3,
        "input": [{"name": "a", "data_type": Word("TYPE_FP32"), "dims": [-1, 2], "optional": True}, {"name": "b"}],
        "cc_model_filenames": pbtxt.entries({"7.5": "x", "8.0": odd}),
        "dynamic_batching": {},
    }
    found = text_format.Parse(pbtxt.text(message), model_config_pb2.ModelConfig())
    assert found.name == odd
    assert dict(found.cc_model_filenames) == {"7.5": "x", "8.0": odd}
    assert [(tensor.name, list(tensor.dims), tensor.optional) for tensor in found.input] == [
        ("a", [-1, 2], True),
        ("b", [], False),
    ]
    assert found.HasField("dynamic_batching")
    with pytest.raises(TypeError, match=r"0.5 is float; allowed: str, Word"):
        pbtxt.text({"name": 0.5})


def test_it_needs_no_torch() -> None:
    code = "import sys, training.triton; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
