"""`python -m training VERB …`: train, export, evaluate and report, offline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch

from service import manifest as manifests
from service.errors import StartupError
from training import classifiers, data, descent_curve, devices, served
from training.attack_sets import RECIPE, clean_logits
from training.attacked_examples import AttackedExamples, attack_training_set
from training.classifiers.vgg16 import VGG16
from training.config import (
    CLASSIFIERS,
    DISTILLATION,
    GENERATIVE,
    PURIFIERS,
    ClassifierConfig,
    DistillationConfig,
    GanConfig,
    PurifierConfig,
    VaeConfig,
)
from training.distill import distill
from training.errors import CheckpointError, TrainingError
from training.evaluate import evaluate
from training.export import export_dataset, export_defense
from training.fingerprint import fingerprint
from training.fitting import read_config
from training.plans import TrainedClassifier, TrainedPurifier
from training.protocols import DEFAULT_SIZES, PROTOCOLS, Sizes
from training.purifiers import ARCHITECTURES
from training.quantized_classifier import quantize_classifier
from training.ray_tasks import RayTasks
from training.report import write_report
from training.table3 import measure, printed
from training.train_classifier import train_classifier
from training.train_gan import train_gan
from training.train_purifier import train_purifier
from training.train_vae import train_vae
from training.triton import write_repository
from training.workers import Processes

Config = TypeVar("Config", ClassifierConfig, PurifierConfig, VaeConfig, GanConfig, DistillationConfig)
Verb = Callable[[argparse.Namespace], None]
_INTERRUPTED = 130


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
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    classifier = _verb(verbs, "classifier", _classifier, "fine-tune VGG-16 from ImageNet")
    purifier = _verb(verbs, "purifier", _purifier, "train a purifier against attacks on the classifier")
    distillation = _verb(verbs, "distill", _distill, "train a narrower VGG-16 on the classifier's answers")
    export = _verb(verbs, "export", _export, "write verified ONNX graphs and the manifest", dataset=False)
    quantized = _verb(verbs, "quantize", _quantize, "write an int8 classifier beside the exported fp32 one")
    evaluate = _verb(verbs, "evaluate", _evaluate, "measure the exported graphs under attack")
    descent = _verb(verbs, "descent", _descent, "measure what Defense-GAN's steps and restarts buy")
    report = _verb(verbs, "report", _report, "draw figures and tables from the rows", dataset=False)
    table3 = _verb(verbs, "table3", _table3, "time every defense, and print Table 3", dataset=False)
    everything = _verb(verbs, "all", _all, "from the data to exported, verified graphs")
    for command in (classifier, distillation, everything):
        command.add_argument(
            "--backbone",
            default="imagenet",
            help="'imagenet' downloads torchvision's weights; else a safetensors file with features.* keys",
        )
    purifier.add_argument("--defense", choices=(*_defenses(), *GENERATIVE), default="autoencoder")
    export.add_argument("--dataset", choices=tuple(data.DATASETS), help="--triton takes all without it")
    export.add_argument(
        "--triton",
        type=Path,
        metavar="DIR",
        help="instead, copy the graphs of --models-dir into a model repository of NVIDIA's Triton, to run on --device",
    )
    export.add_argument(
        "--defense",
        choices=(*_defenses(), *GENERATIVE, "distillation"),
        help="only this one, beside what is shipped; default: the classifier and its auto-encoders anew",
    )
    for command in (classifier, purifier, distillation, everything):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--epochs", type=_positive, help="default: the configuration's")
        command.add_argument("--train-n", type=_positive, help="train on the first N images only, to try things out")
    for command in (classifier, purifier, distillation, export, evaluate, everything):
        command.add_argument("--work-dir", type=Path, default=Path("runs"), help="checkpoints, attacked sets and logs")
    for command in (classifier, purifier, distillation, export, evaluate, table3, everything):
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    descent.add_argument("--n", type=_positive, default=200, help="test images")
    for command in (purifier, distillation, export, quantized, evaluate, descent, report, table3, everything):
        command.add_argument("--models-dir", type=Path, default=Path("models"))
    evaluate.add_argument("--protocol", choices=PROTOCOLS, default="paper")
    for name, text in (
        ("n", "test images for the clean answers and FGSM at the paper's headline budget"),
        ("pgd-n", "test images for PGD at its headline budget"),
        ("sweep-n", "test images for the other budgets and noises"),
        ("check-n", "test images for what only the checks need"),
        ("slow-n", "test images for the attacks of the zoo that take seconds an image"),
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
    evaluate.add_argument("--again", action="store_true", help="measure also what is in results.csv already")
    table3.add_argument("--dataset", choices=tuple(data.DATASETS), help="this one alone")
    table3.add_argument("--repeats", type=_positive, default=100, help="timed calls of each stage and batch size")
    table3.add_argument("--budget-s", type=_positive, default=20, help="seconds for the calls of one of them, in all")
    table3.add_argument("--threads", type=_positive, help="default: the CPUs that the process may use")
    report.add_argument("--readme", type=Path, default=Path("README.md"))
    report.add_argument(
        "--ablations",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="collect rows of other models folders first",
    )
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Verb,
    text: str,
    *,
    dataset: bool = True,
) -> argparse.ArgumentParser:
    command = verbs.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    command.set_defaults(run=run)
    command.add_argument("--data-dir", type=Path, help=f"else {data.DATA_DIR_VARIABLE}, else ./data")
    if dataset:
        command.add_argument("--dataset", choices=tuple(data.DATASETS), required=True)
    return command


def _classifier(options: argparse.Namespace) -> None:
    train_classifier(
        _load(options, "train"),
        _load(options, "validation"),
        config=_configured(CLASSIFIERS[options.dataset], options),
        backbone=options.backbone,
        device=devices.resolve(options.device),
        folder=options.work_dir / options.dataset / "classifier",
    )


def _purifier(options: argparse.Namespace) -> None:
    device = devices.resolve(options.device)
    classifier = _trained_classifier(options).to(device).to(memory_format=torch.channels_last)
    validation = _load(options, "validation")
    folder = options.work_dir / options.dataset
    attacks = _attacks(options, classifier)
    place = folder / options.defense
    if options.defense not in GENERATIVE:
        config = _configured(PURIFIERS[options.dataset, options.defense], options)
        attacked = _attacked(options, classifier, config, device)
        kept = attacks / "validation"
        train_purifier(attacked, validation, classifier, config=config, device=device, folder=place, attacks=kept)
        return
    generative = GENERATIVE[options.defense]
    train = _load(options, "train")
    if isinstance(generative, GanConfig):
        generative = _configured(generative, options)
        train_gan(train, validation, classifier, config=generative, device=device, folder=place)
        return
    generative = _configured(generative, options)
    seen = _attacked(options, classifier, generative, device) if generative.attacked_images else train
    kept = attacks / "validation"
    train_vae(seen, validation, classifier, config=generative, device=device, folder=place, attacks=kept)


def _attacked(
    options: argparse.Namespace, classifier: torch.nn.Module, config: PurifierConfig | VaeConfig, device: torch.device
) -> AttackedExamples:
    train = _load(options, "train")
    train = train.first(config.images) if isinstance(config, VaeConfig) else train
    folder = _attacks(options, classifier) / f"{len(train)}"
    return attack_training_set(classifier, train, config=config, device=device, folder=folder)


def _attacks(options: argparse.Namespace, classifier: torch.nn.Module) -> Path:
    folder: Path = options.work_dir / options.dataset / f"attacks-{fingerprint(classifier)}-{RECIPE}"
    return folder


def _distill(options: argparse.Namespace) -> None:
    device = devices.resolve(options.device)
    classifier = _trained_classifier(options).to(device).to(memory_format=torch.channels_last)
    train = _load(options, "train")
    answers = clean_logits(classifier, train, _attacks(options, classifier) / f"{len(train)}", device=device)
    distill(
        train,
        answers,
        _load(options, "validation"),
        config=_configured(DISTILLATION, options),
        backbone=options.backbone,
        device=device,
        folder=options.work_dir / options.dataset / "distillation",
    )


def _export(options: argparse.Namespace) -> None:
    if options.triton is not None:
        _export_to_triton(options)
        return
    if options.dataset is None:
        raise TrainingError(f"export needs --dataset or --triton; allowed data sets: {', '.join(data.DATASETS)}")
    folder = options.work_dir / options.dataset
    test = _load(options, "test")
    if options.defense is not None:
        export_defense(options.dataset, _trained(folder, options.defense), test=test, models=options.models_dir)
        return
    trained = [_trained(folder, defense) for defense in _defenses() if (folder / defense / "weights.pt").exists()]
    if not trained:
        raise CheckpointError(f"{folder} holds no purifier; run `python -m training purifier` first")
    export_dataset(
        options.dataset,
        TrainedClassifier(_trained_classifier(options), read_config(folder / "classifier")),
        tuple(purifier for purifier in trained if isinstance(purifier, TrainedPurifier)),
        test=test,
        models=options.models_dir,
    )


def _export_to_triton(options: argparse.Namespace) -> None:
    datasets = [options.dataset] if options.dataset else manifests.read(options.models_dir).datasets
    names = write_repository(options.models_dir, options.triton, datasets, options.device)
    print(f"{options.triton}: {', '.join(names)}")


def _trained(folder: Path, defense: str) -> TrainedPurifier | TrainedClassifier:
    """A defense as the work folder holds it."""
    config = read_config(folder / defense)
    if defense == "distillation":
        student = classifiers.ARCHITECTURES[config["architecture"]]()
        student.load_state_dict(torch.load(folder / defense / "weights.pt", map_location="cpu", weights_only=True))
        return TrainedClassifier(student, config, defense)
    module = ARCHITECTURES[config["architecture"]](config["noise_std"])
    module.load_state_dict(torch.load(folder / defense / "weights.pt", map_location="cpu", weights_only=True))
    return TrainedPurifier(defense, module, config)


def _quantize(options: argparse.Namespace) -> None:
    train, test = (data.load(options.dataset, split, options.data_dir) for split in ("train", "test"))
    quantize_classifier(options.dataset, train=train, test=test, models=options.models_dir)


def _evaluate(options: argparse.Namespace) -> None:
    test = _load(options, "test")
    with _workers(options) as workers:
        evaluate(
            options.dataset,
            options.protocol,
            test=test,
            train=lambda: data.load(options.dataset, "train", options.data_dir),
            models=options.models_dir,
            cache=options.work_dir / "evaluation",
            device=workers.device(options.device),
            sizes=_sizes(options),
            workers=workers,
            again=options.again,
        )


def _descent(options: argparse.Namespace) -> None:
    points = descent_curve.measure(options.dataset, _load(options, "test").first(options.n), options.models_dir)
    for point in points:
        print(f"L {point.steps:3}, R {point.restarts:2}: clean {point.clean_accuracy:.4f}, ", end="")
        print(f"FGSM {point.fgsm_eps:g} (oblivious) {point.robust_accuracy:.4f}, n {point.n}")


def _report(options: argparse.Namespace) -> None:
    write_report(options.models_dir, options.readme, options.ablations)


def _table3(options: argparse.Namespace) -> None:
    rows = measure(
        options.models_dir,
        (options.dataset,) if options.dataset else (),
        device=devices.resolve(options.device),
        threads=options.threads,
        repeats=options.repeats,
        budget_s=options.budget_s,
    )
    print(printed(options.models_dir, rows))


def _all(options: argparse.Namespace) -> None:
    _classifier(options)
    for defense in _defenses():
        _purifier(argparse.Namespace(**{**vars(options), "defense": defense}))
    _export(argparse.Namespace(**vars(options), defense=None, triton=None))
    _quantize(options)


def _trained_classifier(options: argparse.Namespace) -> torch.nn.Module:
    """What the work folder holds; where nothing was trained there, the shipped one."""
    path = options.work_dir / options.dataset / "classifier" / "weights.pt"
    if not path.exists():
        if not (options.models_dir / manifests.FILE_NAME).exists():
            raise CheckpointError(f"{path} does not exist; run `python -m training classifier` first")
        return served.load_classifier(options.models_dir, manifests.read(options.models_dir), options.dataset)
    classifier = VGG16()
    classifier.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return classifier.eval()


def _load(options: argparse.Namespace, split: data.Split) -> data.Examples:
    examples = data.load(options.dataset, split, options.data_dir)
    return examples.first(options.train_n) if split == "train" else examples


def _configured(config: Config, options: argparse.Namespace) -> Config:
    epochs = options.epochs or config.schedule.epochs
    return replace(config, seed=options.seed, schedule=replace(config.schedule, epochs=epochs))


def _sizes(options: argparse.Namespace) -> Sizes:
    default = DEFAULT_SIZES[options.protocol]
    return Sizes(**{name: getattr(options, name) or value for name, value in asdict(default).items()})


def _workers(options: argparse.Namespace) -> Processes | RayTasks:
    if options.ray is None:
        return Processes(options.workers)
    return RayTasks(options.ray, options.models_dir, options.ray_gpus)


def _defenses() -> tuple[str, ...]:
    return tuple(dict.fromkeys(defense for _, defense in PURIFIERS))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; a whole number of at least 1 is")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not (0 < value <= 1 or (value > 1 and value.is_integer())):
        raise argparse.ArgumentTypeError(f"{text} is not allowed; a share above 0 and up to 1 is, or a whole number")
    return value


if __name__ == "__main__":
    sys.exit(main())
