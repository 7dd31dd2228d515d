"""`python -m training VERB …`: train, export, evaluate and report, offline."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from service.errors import StartupError, shortened
from training import data, verbs
from training.config import AUTOENCODERS, GENERATIVE, ONE_ATTACK
from training.errors import TrainingError
from training.protocols import PROTOCOLS
from training.robust_recipes import ROBUST_DEFENSE

Run = Callable[[argparse.Namespace], None]
Add = Callable[[str, Run, str], argparse.ArgumentParser]
_INTERRUPTED = 130
_PURIFIERS = (*AUTOENCODERS, *dict.fromkeys(name for _, name in ONE_ATTACK), ROBUST_DEFENSE, *GENERATIVE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. Errors of ours are printed as a sentence, without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (TrainingError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    add = partial(_verb, parser.add_subparsers(required=True, metavar="VERB"))
    for add_some in (_add_training, _add_export, _add_evaluate, _add_measurements):
        add_some(add)
    return parser


def _verb(
    verb_parsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    """A verb that knows where the data are."""
    command = verb_parsers.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    command.set_defaults(run=run)
    command.add_argument("--data-dir", type=Path, help=f"else {data.DATA_DIR_VARIABLE}, else ./data")
    return command


def _add_training(add: Add) -> None:
    classifier = add("classifier", verbs.run_classifier, "fine-tune VGG-16 from ImageNet")
    purifier = add("purifier", verbs.run_purifier, "train a purifier against attacks on the classifier")
    distill = add("distill", verbs.run_distill, "train a narrower VGG-16 on the classifier's answers")
    everything = add("all", verbs.run_all, "from the data to exported, verified graphs")
    purifier.add_argument("--defense", choices=_PURIFIERS, default="autoencoder")
    for command in (classifier, purifier, distill, everything):
        _add_dataset(command)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--epochs", type=_positive, help="default: the configuration's")
        command.add_argument("--train-n", type=_positive, help="train on the first N images only, to try things out")
        _add_work_dir(command)
        _add_device(command)
    for command in (classifier, distill, everything):
        command.add_argument(
            "--backbone",
            default="imagenet",
            help="'imagenet' downloads torchvision's weights; else a safetensors file with features.* keys",
        )
    for command in (purifier, distill, everything):
        _add_models_dir(command)


def _add_export(add: Add) -> None:
    export = add("export", verbs.run_export, "write verified ONNX graphs and the manifest")
    export.add_argument("--dataset", choices=tuple(data.DATASETS), help="--triton takes all without it")
    export.add_argument(
        "--triton",
        type=Path,
        metavar="DIR",
        help="instead, copy the graphs of --models-dir into a model repository of NVIDIA's Triton, to run on --device",
    )
    export.add_argument(
        "--defense",
        choices=(*_PURIFIERS, "distillation"),
        help="only this one, beside what is shipped; default: the classifier and its auto-encoders anew",
    )
    _add_work_dir(export)
    _add_device(export)
    quantize = add("quantize", verbs.run_quantize, "write the exported classifier in int8 and fp16 beside fp32")
    _add_dataset(quantize)
    quantize.add_argument("--precision", choices=("int8", "fp16"), help="only this one; default: both")
    for command in (export, quantize):
        _add_models_dir(command)


def _add_evaluate(add: Add) -> None:
    evaluate = add("evaluate", verbs.run_evaluate, "measure the exported graphs under attack")
    _add_dataset(evaluate)
    _add_work_dir(evaluate)
    _add_device(evaluate)
    _add_models_dir(evaluate)
    evaluate.add_argument("--protocol", choices=PROTOCOLS, default="paper")
    evaluate.add_argument(
        "--defense", help="attack this one with adaptive, quick or zoo; default: the shipped purifier"
    )
    evaluate.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        metavar="ATTACK[,ATTACK...]",
        help="these attacks of the protocol alone, and no checks; 'worst_case' is one",
    )
    for name, text in (
        ("n", "test images for the clean answers and FGSM at the paper's headline budget"),
        ("pgd-n", "test images for PGD at its headline budget"),
        ("sweep-n", "test images for the other budgets and noises"),
        ("check-n", "test images for what only the checks need"),
        ("slow-n", "test images for attacks and defenses that take seconds an image on a CPU"),
        ("long-n", "test images for attacks that take a hundred gradients an image: Auto-PGD, DDN, DeepFool"),
    ):
        evaluate.add_argument(f"--{name}", type=_positive, help=text)
    workers = evaluate.add_mutually_exclusive_group()
    workers.add_argument("--workers", type=_positive, help="processes; default: one for each usable CPU")
    workers.add_argument(
        "--ray", metavar="ADDRESS", help="have a Ray cluster do it: auto, local, HOST:PORT or ray://HOST:PORT"
    )
    evaluate.add_argument(
        "--ray-gpus", type=_share, default=1.0, metavar="SHARE", help="of a GPU for each attacking task of Ray"
    )
    evaluate.add_argument("--again", action="store_true", help="craft and measure also what is in results.csv already")


def _add_measurements(add: Add) -> None:
    descent = add("descent", verbs.run_descent, "measure what Defense-GAN's steps and restarts buy")
    _add_dataset(descent)
    descent.add_argument("--n", type=_positive, default=200, help="test images")
    table3 = add("table3", verbs.run_table3, "time every defense, and print Table 3")
    _add_device(table3)
    table3.add_argument("--dataset", choices=tuple(data.DATASETS), help="this one alone")
    table3.add_argument("--repeats", type=_positive, default=100, help="timed calls of each stage and batch size")
    table3.add_argument("--budget-s", type=_positive, default=20, help="seconds for the calls of one of them, in all")
    table3.add_argument("--threads", type=_positive, help="default: the CPUs that the process may use")
    report = add("report", verbs.run_report, "draw figures and tables from the rows")
    report.add_argument("--readme", type=Path, default=Path("README.md"))
    report.add_argument(
        "--ablations",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="collect rows of other models folders first",
    )
    for command in (descent, table3, report):
        _add_models_dir(command)


def _add_dataset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", choices=tuple(data.DATASETS), required=True)


def _add_work_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--work-dir", type=Path, default=Path("runs"), help="checkpoints, attacked sets and logs")


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _add_models_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models-dir", type=Path, default=Path("models"))


def _positive(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{shortened(text)} was given; allowed: whole numbers from 1 to 999999999")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value <= 1 or (value > 1 and value.is_integer())):
        raise argparse.ArgumentTypeError(
            f"{shortened(text)} was given; allowed: a share above 0 and up to 1, or a whole number"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
