from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import fitting
from training.config import ClassifierConfig, Schedule
from training.errors import CheckpointError
from training.fitting import Job, fit, read_config

SCHEDULE = Schedule(epochs=3, batch_size=8, learning_rate=0.01, weight_decay=0.0, warmup_steps=2)
INPUTS = torch.linspace(-1, 1, 64).view(64, 1)


def _job(folder: Path, seed: int = 0, select: str | None = "score") -> Job:
    config = ClassifierConfig(schedule=SCHEDULE, seed=seed)
    return Job("test", folder, config, SCHEDULE, examples=64, select=select, seed=seed)


class _InterruptError(Exception):
    pass


def _run(
    folder: Path,
    *,
    stop_at: int | None = None,
    seed: int = 0,
    scores: list[float] | None = None,
    select: str | None = "score",
) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    remaining = list(scores or [0.1, 0.2, 0.3])

    def batch_loss(indices: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        if step == stop_at:
            raise _InterruptError
        loss = (model(INPUTS[indices]) - INPUTS[indices] ** 2).square().mean()
        return loss, {"loss": loss.item()}

    fit(_job(folder, seed, select), model, batch_loss, lambda: {"score": remaining.pop(0)})
    return model


def _logged(path: Path, column: str) -> list[str]:
    with path.open(newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def _equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole")
    with pytest.raises(_InterruptError):
        _run(tmp_path / "cut", stop_at=13)
    resumed = _run(tmp_path / "cut", scores=[0.2, 0.3])
    assert _equal(whole, resumed)


def test_gradients_that_an_earlier_stage_left_on_frozen_weights_do_not_shorten_the_steps(tmp_path: Path) -> None:
    def trained(folder: Path, left: float) -> nn.Module:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 1))
        for weight in model[0].parameters():
            weight.requires_grad_(False).grad = torch.full_like(weight, left)

        def batch_loss(indices: Tensor, _: int) -> tuple[Tensor, Mapping[str, float]]:
            return (model(INPUTS[indices]) - INPUTS[indices] ** 2).square().mean(), {}

        fit(_job(folder), model, batch_loss, lambda: {"score": 0.0})
        return model

    assert _equal(trained(tmp_path / "none", 0.0), trained(tmp_path / "large", 1e4))


def test_an_interrupted_run_logs_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An epoch has 8 steps: the last checkpoint is of step 15, the interrupt comes before the epoch's end is saved.
    monkeypatch.setattr(fitting, "_CHECKPOINT_EVERY", 5)
    monkeypatch.setattr(fitting, "_LOG_EVERY", 2)
    save = fitting._save

    def interrupted(job: Job, state: fitting._State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if state.step == 16:
            raise _InterruptError
        save(job, state, model, optimizer)

    _run(tmp_path / "whole")
    monkeypatch.setattr(fitting, "_save", interrupted)
    with pytest.raises(_InterruptError):
        _run(tmp_path / "cut")
    monkeypatch.setattr(fitting, "_save", save)
    assert _logged(tmp_path / "cut/losses.csv", "step")[-1] == "16"
    assert _logged(tmp_path / "cut/epochs.csv", "epoch") == ["1", "2"]
    with (tmp_path / "cut/losses.csv").open("a") as file:
        file.write("1")  # killed within a row
    _run(tmp_path / "cut", scores=[0.2, 0.3])
    for name in ("losses.csv", "epochs.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_begun_anew_does_not_log_below_an_old_one(tmp_path: Path) -> None:
    _run(tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / "losses.csv").write_text("")
    _run(tmp_path, seed=5)
    assert _logged(tmp_path / "epochs.csv", "epoch") == ["1", "2", "3"]
    assert _logged(tmp_path / "losses.csv", "step") == ["20"]


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    assert not _equal(_run(tmp_path / "a"), _run(tmp_path / "b", seed=1))


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path) -> None:
    best_last = _run(tmp_path / "last", scores=[0.1, 0.2, 0.3])
    best_first = _run(tmp_path / "first", scores=[0.9, 0.2, 0.3])
    assert not _equal(best_last, best_first)


def test_the_last_epoch_is_kept_where_nothing_selects(tmp_path: Path) -> None:
    last = _run(tmp_path / "last", scores=[0.9, 0.2, 0.1], select=None)
    assert _equal(last, _run(tmp_path / "rising", scores=[0.1, 0.2, 0.3]))


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    _run(tmp_path)
    with pytest.raises(CheckpointError, match="another configuration"):
        _run(tmp_path, seed=5)


def test_losses_epochs_and_configuration_lie_beside_the_weights(tmp_path: Path) -> None:
    _run(tmp_path)
    assert _logged(tmp_path / "epochs.csv", "score") == ["0.1", "0.2", "0.3"]
    assert all(float(loss) > 0 for loss in _logged(tmp_path / "losses.csv", "loss"))
    assert read_config(tmp_path)["schedule"]["epochs"] == 3


def test_the_configuration_of_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train there first"):
        read_config(tmp_path)
