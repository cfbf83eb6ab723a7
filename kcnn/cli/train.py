"""`kcnn train`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, print_json, say
from kcnn.cli.plan import plan_recipe, recipe_options
from kcnn.cli.resume import continued, tell_when_stopped
from kcnn.errors import Diverged
from kcnn.errors import command as to_type


@click.command("train")
@recipe_options
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="Run directory; default runs/MODEL-DATASET.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run; --epochs, --data-dir and --device may change.",
)
@as_json
def command(run_dir: Path | None, resume: Path | None, as_json: bool, **options: Any) -> None:
    """Train a network and write a run directory.

    Without options: LeNet-5 on the bundled handwritten digits. A model named without a data set uses its home data
    set and shipped recipe; every option changes one value of that recipe.
    """
    plan, run = _begin(run_dir, options) if resume is None else continued(resume, options)
    result = _train(plan, run, resume is not None)
    print_json(result) if as_json else _report(result, plan, run)


def _begin(run_dir: Path | None, options: dict[str, Any]) -> tuple[Any, Any]:
    from kcnn.run.directory import RunDir

    found, plan = plan_recipe(**options)
    run = RunDir.create(run_dir, f"{plan.model}-{plan.dataset}", plan.to_toml())
    tell_when_stopped(run, new=True)
    say(f"{plan.model} on {plan.dataset}, {plan.epochs} epochs, recipe {found} → {run.path}")
    return plan, run


def _train(plan: Any, run: Any, resume: bool) -> dict[str, Any]:
    """Select the backend, then train; a divergence says what is kept."""
    from kcnn.machine import backend

    backend.select(plan.backend, plan.device, plan.precision)
    from kcnn.training.trainer import train as train_run

    try:
        return train_run(plan, run, resume)
    except Diverged as error:
        raise Diverged(f"{error} ({run.best if run.best.exists() else run.last})") from error


def _report(result: dict[str, Any], plan: Any, run: Any) -> None:
    """What came out, and what to try next."""
    low, high = result["test"].get("interval", (None, None))  # a run of an older kcnn has none
    interval = f"  95 % interval {low:.4f} to {high:.4f}" if low is not None else ""
    epochs = f"(epoch {result['best_epoch']} of {result['epochs']})"
    click.echo(f"test accuracy {result['test']['accuracy']:.4f}{interval}  {epochs}")
    say(f"{result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s on {result['device']}")
    say(f"pictures: {run.curves} {run.confusion}")
    say("\nNext:")
    for words, purpose in (
        (("evaluate", run.path), "per-class scores"),
        (("predict", run.path, "PICTURE..."), "classify your own pictures"),
        (("export", run.path, "--format", "onnx", "-o", f"{plan.model}.onnx"), "take it elsewhere"),
        (
            ("train", "--model", "simple_cnn", "--dataset", "cifar10"),
            "the next network; see `kcnn models`, `kcnn datasets`",
        ),
    ):
        say(f"  {to_type(*words):<62}  {purpose}")
