"""`kcnn train`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, print_json, resume_hint, say
from kcnn.cli.plan import plan_recipe, recipe_options
from kcnn.errors import Diverged, UsageError


@click.command("train")
@recipe_options
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="Run directory; default runs/MODEL-DATASET.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue an interrupted run.")
@as_json
def command(run_dir: Path | None, resume: Path | None, as_json: bool, **options: Any) -> None:
    """Train a network and write a run directory.

    Without options: LeNet-5 on the bundled handwritten digits. A model named without a data set uses its home data
    set and shipped recipe; every option changes one value of that recipe.
    """
    if resume is None:
        plan, run = _begin(run_dir, options)
    elif run_dir or any(value not in (None, "", ()) for value in options.values()):
        raise UsageError("--resume continues a run as its recipe.toml says; leave out the other options.")
    else:
        plan, run = _continue(resume)
    result = _train(plan, run, resume is not None)
    print_json(result) if as_json else _report(result, plan, run)


def _begin(run_dir: Path | None, options: dict[str, Any]) -> tuple[Any, Any]:
    from kcnn.run.directory import RunDir

    found, plan = plan_recipe(**options)
    run = RunDir.create(run_dir, f"{plan.model}-{plan.dataset}")
    say(f"{plan.model} on {plan.dataset}, {plan.epochs} epochs, recipe {found} → {run.path}")
    return plan, run


def _continue(path: Path) -> tuple[Any, Any]:
    from kcnn.errors import KcnnError
    from kcnn.recipes.files import read_recipe
    from kcnn.run.directory import RunDir

    run = RunDir.open(path)
    if not run.last.exists():
        raise KcnnError(f"{path} has no last.keras to continue from: start a new run with --recipe {run.recipe}.")
    plan = read_recipe(run.recipe)
    say(f"continuing {plan.model} on {plan.dataset} in {run.path}")
    return plan, run


def _train(plan: Any, run: Any, resume: bool) -> dict[str, Any]:
    """Select the backend, then train; an interruption or a divergence says how to go on."""
    from kcnn.machine import backend

    try:
        backend.select(plan.backend, plan.device, plan.precision)
        from kcnn.training.trainer import train as train_run

        return train_run(plan, run, resume)
    except KeyboardInterrupt:
        kept = f"The last finished epoch is kept. Continue with: {resume_hint(run.path)}"
        say(f"\nInterrupted. {kept if run.last.exists() else 'Nothing was trained yet.'}")
        raise SystemExit(130) from None
    except Diverged as error:
        raise Diverged(f"{error} ({run.best if run.best.exists() else run.last})") from error
    finally:
        if not any(run.path.iterdir()):
            run.path.rmdir()


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
