"""The one training loop: progress bar with ETA, CSV log, checkpoints that resume exactly.

Every step seeds torch from (seed, step), and the order of an epoch from (seed, epoch), so that a run that
was interrupted and resumed ends in the same weights as one that was not (on the same machine).
Knows neither data sets nor attacks: the caller gives a loss for a batch of indices.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.config import Schedule
from training.errors import CheckpointError

BatchLoss = Callable[[Tensor, int], tuple[Tensor, Mapping[str, float]]]
Validate = Callable[[], Mapping[str, float]]
_SEED_STRIDE = 1_000_003
_CHECKPOINT_EVERY = 200
_LOG_EVERY = 20
_CONFIG = "config.json"
_LOSSES, _EPOCHS = "losses.csv", "epochs.csv"


@dataclasses.dataclass(frozen=True)
class Job:
    """What to fit and where to keep it.

    `examples` is the size of the training set; `select` names the validation metric (higher is better) whose best epoch
    is kept, None keeps the last one; `config` is saved beside the weights, and guards a resume together with
    `depends_on`, a name for whatever else the weights depend on (the classifier, the attacked sets).
    """

    name: str
    folder: Path
    config: Any
    schedule: Schedule
    examples: int
    select: str | None
    seed: int
    depends_on: str = ""

    @property
    def steps_per_epoch(self) -> int:
        return self.examples // self.schedule.batch_size

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.schedule.epochs


def fit(job: Job, model: nn.Module, batch_loss: BatchLoss, validate: Validate) -> Mapping[str, float]:
    """Train `model` in place, resuming from the job's folder; ends with the weights of the epoch that `job` keeps.

    Returns:
        The validation metrics of that epoch.

    Raises:
        CheckpointError: the folder holds a checkpoint of another configuration.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    optimizer = _adamw(model, job.schedule)
    state = _resume(job, model, optimizer)
    _forget_after(job.folder / _LOSSES, "step", state.step)
    _forget_after(job.folder / _EPOCHS, "epoch", state.step // max(1, job.steps_per_epoch))
    (job.folder / _CONFIG).write_text(json.dumps(dataclasses.asdict(job.config), indent=2) + "\n")
    with tqdm(total=job.total_steps, initial=state.step, desc=job.name, unit="step", mininterval=2.0) as bar:
        while state.step < job.total_steps:
            losses = _step(job, state.step, model, optimizer, batch_loss)
            state.step += 1
            bar.update()
            if state.step % _LOG_EVERY == 0:
                bar.set_postfix({name: f"{value:.4f}" for name, value in losses.items()})
                _log(job.folder / _LOSSES, {"step": state.step, **losses})
            if state.step % job.steps_per_epoch == 0:
                model.eval()
                state.offer(validate(), model, job)
                _save(job, state, model, optimizer)
            elif state.step % _CHECKPOINT_EVERY == 0:
                _save(job, state, model, optimizer)
    if state.best_weights is None:
        raise CheckpointError(f"{job.name} ran no epoch; allowed: at least one epoch of {job.examples} examples")
    model.load_state_dict(state.best_weights)
    model.eval()
    return state.best


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that trained the weights in `folder`.

    Raises:
        CheckpointError: nothing was trained there.
    """
    path = folder / _CONFIG
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; train there first")
    return cast(dict[str, Any], json.loads(path.read_text()))


@dataclasses.dataclass
class _State:
    step: int = 0
    best: Mapping[str, float] = dataclasses.field(default_factory=dict)
    best_weights: Mapping[str, Tensor] | None = None

    def offer(self, metrics: Mapping[str, float], model: nn.Module, job: Job) -> None:
        epoch = self.step // job.steps_per_epoch
        tqdm.write(f"{job.name} epoch {epoch}: " + ", ".join(f"{k}={v:.4f}" for k, v in metrics.items()))
        _log(job.folder / _EPOCHS, {"epoch": epoch, **metrics})
        if job.select is None or metrics[job.select] >= self.best.get(job.select, -math.inf):
            self.best = dict(metrics)
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}


def _adamw(model: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    plain = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(schedule.momentum, 0.999))


def _step(
    job: Job, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, batch_loss: BatchLoss
) -> Mapping[str, float]:
    indices = _batch(job, step)
    torch.manual_seed(job.seed * _SEED_STRIDE + step)
    for group in optimizer.param_groups:
        group["lr"] = _learning_rate(job, step)
    model.train()
    loss, losses = batch_loss(indices, step)
    model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), job.schedule.gradient_norm)
    optimizer.step()
    return losses


def _batch(job: Job, step: int) -> Tensor:
    epoch, position = divmod(step, job.steps_per_epoch)
    generator = torch.Generator().manual_seed(job.seed * _SEED_STRIDE + epoch)
    order = torch.randperm(job.examples, generator=generator)
    start = position * job.schedule.batch_size
    return order[start : start + job.schedule.batch_size]


def _learning_rate(job: Job, step: int) -> float:
    warmup = min(job.schedule.warmup_steps, job.total_steps // 5)
    if step < warmup:
        return job.schedule.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, job.total_steps - warmup)
    return job.schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _save(job: Job, state: _State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    content = {
        "fingerprint": _fingerprint(job),
        "state": dataclasses.asdict(state),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = job.folder / "checkpoint.pt.tmp"
    torch.save(content, temporary)
    temporary.replace(job.folder / "checkpoint.pt")


def _resume(job: Job, model: nn.Module, optimizer: torch.optim.Optimizer) -> _State:
    path = job.folder / "checkpoint.pt"
    if not path.exists():
        return _State()
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["fingerprint"] != _fingerprint(job):
        raise CheckpointError(
            f"{path} belongs to another configuration: found {content['fingerprint']}, "
            f"asked for {_fingerprint(job)}; delete the folder or give another --work-dir"
        )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(**content["state"])


def _fingerprint(job: Job) -> str:
    config = dataclasses.asdict(job.config)
    guarded = {
        "config": config,
        "examples": job.examples,
        "seed": job.seed,
        "depends_on": job.depends_on,
    }
    return json.dumps(guarded, sort_keys=True)


def _log(path: Path, row: Mapping[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _forget_after(path: Path, counter: str, last: int) -> None:
    """Drop what was logged after the checkpoint, row `last`: the resumed run logs it again."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    # A run that was killed may have left half a row.
    kept = [row for row in rows if len(row) == len(header) and int(row[header.index(counter)]) <= last]
    path.unlink()
    for row in kept:
        _log(path, dict(zip(header, row, strict=True)))
