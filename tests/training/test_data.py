from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from training import data
from training.errors import DataError


def test_train_and_validation_share_no_image_and_cover_the_training_set(idx_folder: Path) -> None:
    train = data.load("mnist", "train", idx_folder)
    validation = data.load("mnist", "validation", idx_folder)
    assert (len(train), len(validation)) == (1_000, data.VALIDATION_SIZE)
    keys = {image.numpy().tobytes() for image in torch.cat([train.images, validation.images])}
    assert len(keys) == 6_000


def test_the_validation_split_is_the_same_every_time(idx_folder: Path) -> None:
    first, second = (data.load("mnist", "validation", idx_folder) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)


def test_images_are_float_in_unit_range_with_one_channel(idx_folder: Path) -> None:
    test = data.load("mnist", "test", idx_folder)
    assert test.images.shape == (50, 1, 28, 28)
    assert test.images.dtype == torch.float32
    assert (test.images.min().item(), test.images.max().item()) == (0.0, 1.0)


def test_the_folder_comes_from_the_variable_where_none_is_given(
    idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data.DATA_DIR_VARIABLE, str(idx_folder))
    assert len(data.load("mnist", "test")) == 50


def test_an_unknown_dataset_names_the_allowed_ones(idx_folder: Path) -> None:
    with pytest.raises(DataError, match=r"'cifar'; allowed: mnist, fashion-mnist"):
        data.load("cifar", "test", idx_folder)


def test_missing_files_that_cannot_be_downloaded_name_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(data.DATASETS["mnist"], "download", refuse)
    with pytest.raises(DataError, match=r"no network.*--data-dir or PURIFIER_DATA_DIR"):
        data.load("mnist", "test", tmp_path)


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        (IMAGES, b"", "has 0 bytes and starts with ''; allowed: an IDX file of unsigned bytes in 3 dimensions"),
        (IMAGES, b"\x1f\x8b\x08\x00" + bytes(99), "has 103 bytes and starts with '1f 8b 08 00'; allowed"),
        (
            IMAGES,
            struct.pack(">IIII", 0x803, 50, 28, 28) + bytes(99),
            r"has 115 bytes; allowed: 39216, .* 50 x 28 x 28",
        ),
        (IMAGES, struct.pack(">IIII", 0x803, 50, 2, 2) + bytes(200), r"holds images of 2 x 2; allowed: 28 x 28"),
        (LABELS, struct.pack(">II", 0x801, 50) + bytes(51), r"has 59 bytes; allowed: 58, .* declares 50; delete"),
        (LABELS, struct.pack(">II", 0x801, 49) + bytes(49), r"holds 49 labels; allowed: 50, as many as .* images in"),
        (LABELS, struct.pack(">II", 0x801, 50) + bytes([10] * 50), "holds label 10; allowed: 0 to 9"),
        (
            LABELS,
            struct.pack(">II", 0x803, 50) + bytes(50),
            r"starts with '00 00 08 03'; allowed: .* in 1 dimension, .* 01'",
        ),
    ],
)
def test_a_damaged_file_is_named_with_what_it_holds(idx_folder: Path, name: str, content: bytes, fragment: str) -> None:
    (idx_folder / "MNIST/raw" / name).write_bytes(content)
    with pytest.raises(DataError, match=fragment):
        data.load("mnist", "test", idx_folder)


def test_an_unreadable_file_is_an_error(idx_folder: Path) -> None:
    file = idx_folder / "MNIST/raw" / IMAGES
    file.unlink()
    file.mkdir()
    with pytest.raises(DataError, match=f"{IMAGES} cannot be read: "):
        data.load("mnist", "test", idx_folder)
