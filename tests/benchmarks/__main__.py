"""`make bench`: ours beside what a user would otherwise take, on this machine, in alternating rounds.

Progress goes to stderr, tables to stdout; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service import manifest as manifests
from service.cpus import usable_cpus
from service.images import encode_png
from service.loadtest.table import cell, lay_out
from service.samples import read_samples
from service.settings import Settings
from tests.benchmarks.contestants import OURS, ROOT, Contestant, contestants
from tests.benchmarks.in_process import in_process
from tests.benchmarks.measuring import Measured, figures, load, medians, ratios
from tests.benchmarks.running import StartError, running
from tests.benchmarks.task import DATASET, MODELS

_PICTURES = 16


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and end in JSON; a contestant that cannot take part is named with the reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="each starts every contestant anew (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each stage of the load (default 4)")
    parser.add_argument("--repeats", type=int, default=100, help="of the calls in process (default 100)")
    parser.add_argument("--only", nargs="+", help="contestants whose name holds one of these words")
    parser.add_argument(
        "--service-python", type=Path, default=ROOT / ".venv/bin/python", help="what runs ours (default: .venv's)"
    )
    chosen = parser.parse_args(arguments)
    inside = in_process(chosen.repeats)
    _print_in_process(inside)
    taking_part, skipped = _invite(contestants(chosen.service_python.absolute()), chosen.only)
    measured = _rounds(taking_part, skipped, chosen.rounds, chosen.seconds)
    overheads = _overheads(measured, inside["p50_ms"])
    _print_servers(measured, skipped)
    for name, ms in overheads.items():
        print(f"{name}: at one connection {ms:.2f} ms beside the models, the load generator's own time among it")
    machine = f"{platform.platform()}, {_processor()}, {usable_cpus()} CPUs"
    print(f"\n{machine}; {chosen.rounds} alternating rounds of {chosen.seconds:g} s a stage, medians.")
    print(
        json.dumps(
            {
                "machine": machine,
                "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
                "rounds": chosen.rounds,
                "seconds": chosen.seconds,
                "ratios": ratios(measured),
                "ms_beside_the_models_at_1": overheads,
                "servers": measured,
                "skipped": skipped,
                "in_process": inside,
            }
        )
    )
    return 0


def _invite(everybody: Sequence[Contestant], only: Sequence[str] | None) -> tuple[list[Contestant], dict[str, str]]:
    wanted = [one for one in everybody if only is None or any(word.lower() in one.name.lower() for word in only)]
    reasons = {one.name: one.skipped() for one in wanted}
    return [one for one in wanted if reasons[one.name] is None], {name: why for name, why in reasons.items() if why}


def _rounds(
    taking_part: Sequence[Contestant], skipped: dict[str, str], rounds: int, seconds: float
) -> dict[str, Measured]:
    """Every contestant in every round, one at a time; every other round backwards."""
    pictures = _pictures()
    kept: dict[str, list[Measured]] = {one.name: [] for one in taking_part}
    for number in range(rounds):
        for one in taking_part if number % 2 == 0 else reversed(taking_part):
            if one.name in skipped:
                continue
            print(f"round {number + 1} of {rounds}: {one.name}", file=sys.stderr, flush=True)
            try:
                with running(one, pictures[0]) as (url, ready_s):
                    found = asyncio.run(load(one, url, pictures, seconds))
            except StartError as error:
                skipped[one.name] = str(error)
                continue
            kept[one.name].append(figures(found, ready_s))
    return {name: medians(each) for name, each in kept.items() if each}


def _overheads(measured: dict[str, Measured], in_process_ms: dict[str, float]) -> dict[str, float]:
    """What ours take at one connection beyond the time of the models alone, in milliseconds; nothing of a GPU, for in
    process the models run on a CPU.
    """
    if Settings().device == "cuda":
        return {}
    return {
        name: p50_ms - in_process_ms[name.replace(OURS, "answer")]
        for name, each in measured.items()
        if name.startswith(OURS) and (p50_ms := each["p50_ms_at_1"]) is not None
    }


def _pictures() -> list[bytes]:
    (entry,) = (samples for samples in manifests.read(MODELS).samples if samples.dataset == DATASET)
    shipped = read_samples(MODELS, entry).images[:_PICTURES]
    return [encode_png(image.astype("float32") / 255) for image in shipped]


def _print_servers(measured: dict[str, Measured], skipped: dict[str, str]) -> None:
    names = list(next(iter(measured.values()), {}))
    lines = [[name, *(cell(each[figure]) for figure in names)] for name, each in measured.items()]
    print("\n" + lay_out(["server", *names], lines))
    for name, why in skipped.items():
        print(f"skipped: {name}: {why}")


def _print_in_process(inside: dict[str, Any]) -> None:
    print(lay_out(["in process, batch 1", "p50 ms"], [[name, cell(ms)] for name, ms in inside["p50_ms"].items()]))
    print("\n" + "; ".join(f"{name}: {ratio:g}" for name, ratio in inside["ratios"].items()))
    print(f"\nRoofline, against {inside['gemm_peak_gflops']:.1f} GFLOP/s of a large matrix product in float32:")
    names = list(inside["roofline"][0])
    print(lay_out(names, [[cell(row[name]) for name in names] for row in inside["roofline"]]))


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


if __name__ == "__main__":
    sys.exit(main())
