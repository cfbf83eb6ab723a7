"""`kcnn train`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, parse_augment, parse_settings, print_json, resume_hint, say
from kcnn.errors import Diverged, UsageError

# Option → recipe key, for those that go into the recipe as they are.
RECIPE_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("--epochs", int, "Passes over the training images."),
    ("--batch-size", int, "Images in a step."),
    ("--optimizer", str, "sgd, adam, …: see `kcnn recipes --keys`."),
    ("--learning-rate", float, "Highest rate of the schedule."),
    ("--schedule", str, "constant, step, multistep, exponential or cosine."),
    ("--validation", float, "Part of the training images that picks the best epoch; 0 for none."),
    ("--patience", int, "Stop after this many epochs without a better one."),
    ("--seed", int, "Of weights, split, order and augmentation."),
    ("--image-size", int, "Pixels a side that the network sees."),
    ("--limit-train", int, "Use this many training images."),
    ("--data-dir", str, "Folder of the data; default KCNN_DATA_DIR or ~/.cache/kcnn."),
    ("--precision", str, "float32 or mixed_bfloat16."),
    ("--backend", str, "Keras backend: torch, jax or tensorflow."),
    ("--device", str, "auto, cpu, cuda or cuda:N."),
)


def _recipe_options(command: Any) -> Any:
    for name, kind, text in reversed(RECIPE_OPTIONS):
        metavar = {int: "N", float: "X", str: "WORD"}[kind]
        command = click.option(name, type=kind, metavar=metavar, help=text)(command)
    return command


@click.command()
@click.option("--model", default="", metavar="NAME", help="Architecture: see `kcnn models`.")
@click.option("--dataset", default="", metavar="NAME", help="Data set: see `kcnn datasets`; default the model's home.")
@click.option("--recipe", default="", metavar="NAME|FILE", help="Settings to start from: see `kcnn recipes`.")
@_recipe_options
@click.option("--augment", metavar="LIST", help="Such as crop,flip or crop=2,flip=0.3, or none.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other key of the recipe; repeatable.")
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="Run directory; default runs/MODEL-DATASET.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue an interrupted run.")
@as_json
def train(
    model: str,
    dataset: str,
    recipe: str,
    augment: str | None,
    settings: tuple[str, ...],
    run_dir: Path | None,
    resume: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a network and write a run directory.

    Without options: LeNet-5 on the bundled handwritten digits. A model named without a data set uses its home data
    set and shipped recipe; every option changes one value of that recipe.
    """
    changes = {key: value for key, value in options.items() if value is not None}
    if augment is not None:
        changes["augment"] = parse_augment(augment)
    changes |= parse_settings(settings)
    if resume is not None:
        if changes or model or dataset or recipe or run_dir:
            raise UsageError("--resume continues a run as its recipe.toml says; leave out the other options.")
        plan, run = _continue(resume)
    else:
        plan, run = _begin(model, dataset, recipe, changes, run_dir)
    result = _train(plan, run, resume is not None)
    print_json(result) if as_json else _report(result, plan, run)


def _begin(model: str, dataset: str, name: str, changes: dict[str, Any], run_dir: Path | None) -> tuple[Any, Any]:
    from kcnn.recipe import find_recipe
    from kcnn.rundir import RunDir

    found, plan = find_recipe(name, model, dataset)
    if name:
        changes = {**({"model": model} if model else {}), **({"dataset": dataset} if dataset else {}), **changes}
    if changes.get("data_dir"):
        changes["data_dir"] = str(Path(changes["data_dir"]).expanduser().absolute())
    plan = plan.replace(**changes)
    run = RunDir.create(run_dir, f"{plan.model}-{plan.dataset}")
    say(f"{plan.model} on {plan.dataset}, {plan.epochs} epochs, recipe {found} → {run.path}")
    return plan, run


def _continue(path: Path) -> tuple[Any, Any]:
    from kcnn.errors import KcnnError
    from kcnn.recipe import read_recipe
    from kcnn.rundir import RunDir

    run = RunDir.open(path)
    if not run.last.exists():
        raise KcnnError(f"{path} has no last.keras to continue from: start a new run with --recipe {run.recipe}.")
    plan = read_recipe(run.recipe)
    say(f"continuing {plan.model} on {plan.dataset} in {run.path}")
    return plan, run


def _train(plan: Any, run: Any, resume: bool) -> dict[str, Any]:
    """Select the backend, then train; an interruption or a divergence says how to go on."""
    from kcnn import backend

    backend.select(plan.backend, plan.device, plan.precision)
    from kcnn.train import train as train_run

    try:
        return train_run(plan, run, resume)
    except KeyboardInterrupt:
        say(f"\nInterrupted. The last finished epoch is kept. Continue with: {resume_hint(run.path)}")
        raise SystemExit(130) from None
    except Diverged as error:
        raise Diverged(f"{error} ({run.best if run.best.exists() else run.last})") from error


def _report(result: dict[str, Any], plan: Any, run: Any) -> None:
    """What came out, and what to try next."""
    click.echo(f"test accuracy {result['test']['accuracy']:.4f}  (epoch {result['best_epoch']} of {result['epochs']})")
    say(f"{result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s on {result['device']}")
    say(f"pictures: {run.curves} {run.confusion}")
    say("\nNext:")
    for command, purpose in (
        (f"kcnn evaluate {run.path}", "per-class scores"),
        (f"kcnn predict {run.path} PICTURE...", "classify your own pictures"),
        (f"kcnn export {run.path} --format onnx -o {plan.model}.onnx", "take it elsewhere"),
        ("kcnn train --model simple_cnn --dataset cifar10", "the next network; see `kcnn models`, `kcnn datasets`"),
    ):
        say(f"  {command:<62}  {purpose}")
