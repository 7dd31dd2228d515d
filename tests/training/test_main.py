"""`python -m training`: what its command line refuses, and how it says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.settings import SHIPPED_MODELS
from training.__main__ import main


@pytest.mark.parametrize("option", ["--n", "--workers"])
@pytest.mark.parametrize("value", ["x", "0", "-1", "1.0", "1_0", 5000 * "9"])
def test_a_number_that_is_none_is_quoted_beside_what_is_allowed(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["evaluate", "--dataset", "mnist", f"{option}={value}"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {option}: '{value[:70]}" in error
    assert "was given; allowed: whole numbers from 1 to " in error


@pytest.mark.parametrize("value", ["x", "0", "1.5", "nan", "inf"])
def test_a_share_that_is_none_is_quoted_beside_what_is_allowed(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["evaluate", "--dataset", "mnist", "--ray-gpus", value])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert f"argument --ray-gpus: '{value}' was given; allowed: a share above 0 and up to 1, or a whole number" in error


@pytest.mark.parametrize("folder", [SHIPPED_MODELS, Path(os.path.relpath(SHIPPED_MODELS))])
def test_an_ablation_of_the_shipped_models_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--dataset", "mnist", "--protocol", "ablation", "--models-dir", str(folder)]) == 1
    assert f"--models-dir {folder}, the shipped models; allowed: a copy of them" in capsys.readouterr().err
