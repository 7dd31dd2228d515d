"""What an evaluation has measured so far: rows and confusions of one data set, saved after each attack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from service.manifest import Manifest
from training import confusions, metrics, results, row_files
from training.commit import current_commit
from training.crafting import Array
from training.measurement import AttackSpec, View, attack_name, knowledge
from training.results import Row, largest
from training.served import artefact, is_current


class Ledger:
    """The rows of a models folder. Rows of this data set whose graphs have been replaced go at the first `save`.

    Others may write to the same folder meanwhile: a `save` touches what was recorded here alone.
    """

    def __init__(self, models: Path, manifest: Manifest, dataset: str) -> None:
        self._models = models
        self._manifest = manifest
        self._dataset = dataset
        self._commit = current_commit()
        self._recorded: dict[tuple[object, ...], Row] = {}
        self._rows = {row.key: row for row in filter(self._lasts, results.read(models / results.FILE_NAME))}
        self._counts = confusions.read(models / confusions.FILE_NAME)

    def find(self, blank: Row, *, exactly: bool = False) -> Row | None:
        """The row that measured the same on the same graphs, on as many images or, unless `exactly`, more; None where
        there is none with its confusions.
        """
        same = (row for row in self._rows.values() if row.n >= blank.n and replace(row, n=blank.n).key == blank.key)
        if exactly:
            same = (row for row in same if row.n == blank.n)
        return largest([row for row in same if confusions.identity(row) in self._counts])

    def blank(self, spec: AttackSpec, view: View, n: int) -> Row:
        """A row that says what is to be measured."""
        return Row(
            dataset=self._dataset,
            classifier="vgg16",
            defense=view.defense,
            attack=attack_name(spec, view),
            norm=spec.norm,
            eps=spec.eps,
            knowledge=knowledge(spec, view),
            noise=view.noise,
            steps=spec.steps,
            step_size=round(spec.step_size, 6),
            restarts=spec.restarts,
            eot=spec.eot,
            seed=view.seed or spec.seed,
            split="test",
            n=n,
            clean_accuracy=0.0,
            robust_accuracy=0.0,
            ci_low=0.0,
            ci_high=1.0,
            artefact=artefact(self._manifest, self._dataset, view.defense, view.precision),
            precision=view.precision,
            runtime="onnxruntime",
            device="cpu",
            commit=self._commit,
        )

    def record(self, blank: Row, labels: Array, clean: Array, answers: Array) -> Row:
        """Fill a row with what was answered on the clean and on the attacked images, each (n,)."""
        share = float((answers == labels).mean())
        low, high = metrics.wilson_interval(share, len(labels))
        row = replace(
            blank,
            clean_accuracy=round(float((clean == labels).mean()), 4),
            robust_accuracy=round(share, 4),
            ci_low=round(low, 4),
            ci_high=round(high, 4),
        )
        self._rows[row.key] = self._recorded[row.key] = row
        self._counts[confusions.identity(row)] = confusions.count(labels, answers)
        return row

    def save(self) -> None:
        """Write models/results.csv and models/confusions.csv, each replaced in one step."""
        path, counted = (self._models / module.FILE_NAME for module in (results, confusions))
        own = {identity: self._counts[identity] for identity in map(confusions.identity, self._recorded.values())}
        with row_files.alone(self._models):
            results.merge(path, self._recorded.values(), keep=self._lasts)
            confusions.write(counted, confusions.read(counted) | own, results.read(path))

    def _lasts(self, row: Row) -> bool:
        return row.dataset != self._dataset or is_current(self._manifest, row)
