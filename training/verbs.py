"""What each verb of `python -m training` does with its options."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch

from service import manifest as manifests
from service.settings import SHIPPED_MODELS
from training import data, descent_curve, devices
from training.attack_sets import clean_logits
from training.attacked_examples import AttackedExamples, attack_training_set
from training.config import (
    AUTOENCODERS,
    CLASSIFIERS,
    DISTILLATION,
    GENERATIVE,
    ONE_ATTACK,
    PURIFIERS,
    ClassifierConfig,
    DistillationConfig,
    GanConfig,
    PurifierConfig,
    VaeConfig,
)
from training.distill import distill
from training.errors import CheckpointError, EvaluationError, TrainingError
from training.evaluate import evaluate
from training.export import export_dataset, export_defense
from training.plans import TrainedPurifier
from training.protocols import DEFAULT_SIZES, Sizes
from training.ray_tasks import RayTasks
from training.reduced_precision import quantize_classifier, round_classifier
from training.report import write_report
from training.robust_recipes import ROBUST, RobustConfig
from training.table3 import measure, printed
from training.train_classifier import train_classifier
from training.train_gan import train_gan
from training.train_purifier import train_purifier
from training.train_robust import train_robust
from training.train_vae import train_vae
from training.triton import write_repository
from training.work_folder import WorkFolder
from training.workers import Processes

Config = TypeVar("Config", ClassifierConfig, PurifierConfig, VaeConfig, GanConfig, DistillationConfig)


def run_classifier(options: argparse.Namespace) -> None:
    """Fine-tune the classifier."""
    train_classifier(
        _load(options, "train"),
        _load(options, "validation"),
        config=_configured(CLASSIFIERS[options.dataset], options),
        backbone=options.backbone,
        device=devices.resolve(options.device),
        folder=options.work_dir / options.dataset / "classifier",
    )


def run_purifier(options: argparse.Namespace) -> None:
    """Train a purifier, ours or a rival's."""
    device = devices.resolve(options.device)
    work = _work(options)
    classifier = work.classifier().to(device).to(memory_format=torch.channels_last)
    validation = _load(options, "validation")
    place, attacks = work.place(options.defense), work.attacks(classifier)
    named = (options.dataset, options.defense)
    config = GENERATIVE.get(options.defense) or ROBUST.get(named) or {**PURIFIERS, **ONE_ATTACK}[named]
    if isinstance(config, RobustConfig):
        config = replace(config, seed=options.seed)
        config = config.shortened(options.epochs) if options.epochs else config
        train = _load(options, "train")
        train_robust(train, validation, classifier, config=config, device=device, folder=place)
        return
    if isinstance(config, GanConfig):
        config, train = _configured(config, options), _load(options, "train")
        train_gan(train, validation, classifier, config=config, device=device, folder=place)
        return
    kept = attacks / "validation"
    if isinstance(config, VaeConfig):
        config = _configured(config, options)
        train = _load(options, "train").first(config.images)
        seen = _attacked(train, classifier, config, attacks, device) if config.attacked_images else train
        train_vae(seen, validation, classifier, config=config, device=device, folder=place, attacks=kept)
        return
    config = _configured(config, options)
    attacked = _attacked(_load(options, "train"), classifier, config, attacks, device)
    train_purifier(attacked, validation, classifier, config=config, device=device, folder=place, attacks=kept)


def _attacked(
    train: data.Examples,
    classifier: torch.nn.Module,
    config: PurifierConfig | VaeConfig,
    attacks: Path,
    device: torch.device,
) -> AttackedExamples:
    return attack_training_set(classifier, train, config=config, device=device, folder=attacks / f"{len(train)}")


def run_distill(options: argparse.Namespace) -> None:
    """Train the distilled classifier."""
    device = devices.resolve(options.device)
    work = _work(options)
    classifier = work.classifier().to(device).to(memory_format=torch.channels_last)
    train = _load(options, "train")
    answers = clean_logits(classifier, train, work.attacks(classifier) / f"{len(train)}", device=device)
    distill(
        train,
        answers,
        _load(options, "validation"),
        config=_configured(DISTILLATION, options),
        backbone=options.backbone,
        device=device,
        folder=work.place("distillation"),
    )


def run_export(options: argparse.Namespace) -> None:
    """Export a data set, one defense of it, or all into a repository of Triton's."""
    if options.triton is not None:
        _export_to_triton(options)
        return
    if options.dataset is None:
        raise TrainingError(f"export needs --dataset or --triton; allowed data sets: {', '.join(data.DATASETS)}")
    work = _work(options)
    test = _load(options, "test")
    if options.defense is not None:
        export_defense(options.dataset, work.trained(options.defense), test=test, models=options.models_dir)
        return
    trained = [work.trained(defense) for defense in AUTOENCODERS if work.holds(defense)]
    if not trained:
        raise CheckpointError(f"{work.place('')} holds no purifier; run `python -m training purifier` first")
    export_dataset(
        options.dataset,
        work.trained_classifier(),
        tuple(purifier for purifier in trained if isinstance(purifier, TrainedPurifier)),
        test=test,
        models=options.models_dir,
    )


def _export_to_triton(options: argparse.Namespace) -> None:
    datasets = [options.dataset] if options.dataset else manifests.read(options.models_dir).datasets
    names = write_repository(options.models_dir, options.triton, datasets, options.device)
    print(f"{options.triton}: {', '.join(names)}")


def run_quantize(options: argparse.Namespace) -> None:
    """Write the classifier in int8, fp16 or both."""
    train, test = (data.load(options.dataset, split, options.data_dir) for split in ("train", "test"))
    if options.precision in {None, "int8"}:
        quantize_classifier(options.dataset, train=train, test=test, models=options.models_dir)
    if options.precision in {None, "fp16"}:
        round_classifier(options.dataset, test=test, models=options.models_dir)


def run_evaluate(options: argparse.Namespace) -> None:
    """Measure a protocol.

    Raises:
        EvaluationError: the ablation was asked of the shipped models, whose rows are no trial's.
    """
    if options.protocol == "ablation" and options.models_dir.resolve() == SHIPPED_MODELS:
        raise EvaluationError(
            f"--protocol ablation was given with --models-dir {options.models_dir}, the shipped models; allowed: a "
            "copy of them that holds the purifiers to be tried"
        )
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
            defense=options.defense,
            only=options.only,
        )


def run_descent(options: argparse.Namespace) -> None:
    """Measure Defense-GAN's curve, and print it."""
    points = descent_curve.measure(options.dataset, _load(options, "test").first(options.n), options.models_dir)
    for point in points:
        print(f"L {point.steps:3}, R {point.restarts:2}: clean {point.clean_accuracy:.4f}, ", end="")
        print(f"FGSM {point.fgsm_eps:g} (oblivious) {point.robust_accuracy:.4f}, n {point.n}")


def run_report(options: argparse.Namespace) -> None:
    """Redraw the report."""
    write_report(options.models_dir, options.readme, options.ablations)


def run_table3(options: argparse.Namespace) -> None:
    """Time every defense, and print Table 3."""
    rows = measure(
        options.models_dir,
        (options.dataset,) if options.dataset else (),
        device=devices.resolve(options.device),
        threads=options.threads,
        repeats=options.repeats,
        budget_s=options.budget_s,
    )
    print(printed(options.models_dir, rows))


def run_all(options: argparse.Namespace) -> None:
    """From the data to exported, verified graphs."""
    run_classifier(options)
    for defense in AUTOENCODERS:
        run_purifier(argparse.Namespace(**{**vars(options), "defense": defense}))
    run_export(argparse.Namespace(**vars(options), defense=None, triton=None))
    run_quantize(options)


def _work(options: argparse.Namespace) -> WorkFolder:
    return WorkFolder(options.work_dir, options.dataset, options.models_dir)


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
