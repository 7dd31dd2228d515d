"""Recorded results: only those of the served graphs, and a damaged file is told apart from a missing one."""

from __future__ import annotations

from pathlib import Path

import pytest

from service import records
from service.catalog import Catalog
from service.errors import RecordsError
from service.manifest import Manifest

COLUMNS = (
    "dataset,classifier,defense,attack,norm,eps,knowledge,noise,steps,step_size,restarts,eot,seed,split,n,"
    "clean_accuracy,robust_accuracy,ci_low,ci_high,artefact,precision,runtime,device,commit"
)


def write(folder: Path, *artefacts: str, accuracy: str = "0.75") -> None:
    row = "mnist,vgg16,autoencoder,pgd,linf,0.15,adaptive,zero,40,0.009375,1,1,0,test,100,0.99"
    lines = [f"{row},{accuracy},0.66,0.83,{artefact},fp32,onnxruntime,cpu,abc" for artefact in artefacts]
    (folder / records.FILE_NAME).write_text("\n".join([COLUMNS, *lines]) + "\n")


@pytest.fixture
def manifest(catalog: Catalog) -> Manifest:
    return catalog.manifest


@pytest.fixture
def current(manifest: Manifest) -> str:
    """The artefact of the graphs that are served."""
    graphs = (manifest.graph("mnist", "classifier"), manifest.graph("mnist", "purifier", "autoencoder"))
    return "+".join(f"{graph.name}@{graph.weights_sha256[:12]}" for graph in graphs)


def test_a_row_of_the_served_graphs_is_read(tmp_path: Path, manifest: Manifest, current: str) -> None:
    write(tmp_path, current)
    (row,) = records.read(tmp_path, manifest)
    assert (row.attack, row.eps, row.knowledge, row.n) == ("pgd", 0.15, "adaptive", 100)
    assert (row.robust_accuracy, row.ci_low, row.ci_high) == (0.75, 0.66, 0.83)


def test_rows_of_other_graphs_are_left_out(tmp_path: Path, manifest: Manifest, current: str) -> None:
    classifier, purifier = current.split("+")
    replaced = purifier.partition("@")[0] + "@" + "0" * 12
    write(tmp_path, f"{classifier}+{replaced}", f"{classifier}+unknown@123456789012", "mnist-classifier@", "")
    assert records.read(tmp_path, manifest) == ()


def test_rows_with_latent_noise_are_left_out(tmp_path: Path, manifest: Manifest, current: str) -> None:
    write(tmp_path, current)
    path = tmp_path / records.FILE_NAME
    path.write_text(path.read_text().replace(",zero,", ",drawn,"))
    assert records.read(tmp_path, manifest) == ()


def test_without_a_file_there_are_none(tmp_path: Path, manifest: Manifest) -> None:
    assert records.read(tmp_path, manifest) == ()


@pytest.mark.parametrize("accuracy", ["1.5", "high", "nan"])
def test_a_row_that_cannot_be_read_is_an_error_that_says_where(
    tmp_path: Path, manifest: Manifest, current: str, accuracy: str
) -> None:
    write(tmp_path, current, accuracy=accuracy)
    with pytest.raises(RecordsError, match="robust_accuracy"):
        records.read(tmp_path, manifest)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b"artefact\n\n"])
def test_what_is_no_table_of_results_is_an_error_or_empty(tmp_path: Path, manifest: Manifest, content: bytes) -> None:
    (tmp_path / records.FILE_NAME).write_bytes(content)
    if content.startswith(b"artefact"):
        assert records.read(tmp_path, manifest) == ()
    else:
        with pytest.raises(RecordsError, match=r"results\.csv holds what is no row of results"):
            records.read(tmp_path, manifest)
