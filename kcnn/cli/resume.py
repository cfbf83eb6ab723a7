"""`kcnn train --resume`: which options it takes, and what is said of a run before it goes on and when it is stopped."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import say
from kcnn.errors import KcnnError, UsageError, command

TAKEN = ("epochs", "data_dir", "device")  # options beside --resume; each is a key of `kcnn.recipes.origin.MAY_CHANGE`


def continued(path: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    """(recipe, run directory) of a run that goes on, and a line on stderr about it.

    Args:
        path: a run directory, or a file in one.

    Raises:
        KcnnError: no run, or one that cannot go on.
        UsageError: an option that would make it another run.
    """
    from kcnn.run.directory import RunDir

    _refuse_others()
    run = RunDir.open(path.parent if path.is_file() else path)
    tell_when_stopped(run)
    plan = _changed(run, {key: options[key] for key in TAKEN if options[key] is not None})
    if run.begun:
        _describe(plan, run)
    else:
        say(f"{plan.model} on {plan.dataset}, {plan.epochs} epochs, none of them trained yet → {run.path}")
    return plan, run


def tell_when_stopped(run: Any, new: bool = False) -> None:
    """From now on an interrupted user is told how to go on with this run.

    Of a `new` one in which nothing was trained yet nothing stays, when the command ends.
    """
    from kcnn.machine.stopping import ending

    click.get_current_context().with_resource(ending(partial(_leave, run, new)))


def _leave(run: Any, new: bool) -> str:
    hint = command("train", "--resume", run.path)
    if run.begun:
        kept = "The last finished epoch is kept." if run.log.exists() else "No epoch is finished yet."
        return f"{kept} Continue with: {hint}"
    if not new:
        return f"Nothing was trained yet. Begin with: {hint}"
    run.withdraw()
    return "Nothing was trained yet."


def _refuse_others() -> None:
    context = click.get_current_context()
    allowed = (*TAKEN, "resume", "as_json")
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in allowed
        and context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"--resume continues a run as its recipe.toml says: leave out {', '.join(given)}, which would make it "
            f"another run. Beside it go --epochs, --data-dir, --device and --json."
        )


def _changed(run: Any, changes: dict[str, Any]) -> Any:
    """The run's recipe with the changes that the command line asks for."""
    from kcnn.recipes.files import read_recipe
    from kcnn.recipes.origin import check_epochs

    if not run.recipe.read_bytes().strip():
        raise KcnnError(f"{run.recipe} is empty, so nobody knows what this run was to be: begin a new one.")
    plan = read_recipe(run.recipe)
    if changes.get("epochs", plan.epochs) != plan.epochs and run.begun:
        if plan.stages:
            raise UsageError(
                f"The epochs of {run.path} are those of its stages, and cannot change while it goes on. "
                f"Begin a new run from its weights: {command('train', '--weights', run.path)}"
            )
        check_epochs(plan, run.path)
    if folder := changes.get("data_dir"):
        changes["data_dir"] = str(Path(os.path.expanduser(folder)).absolute())
    return plan.replace(**changes) if changes else plan


def _describe(plan: Any, run: Any) -> None:
    """How far the run is, and what has changed since it began; what may not change is refused before keras is read."""
    from kcnn.recipes.origin import check_recipe
    from kcnn.training.state import finished, outcome, resumable

    info, history = resumable(plan, run)
    if outcome(plan, run, history):
        say(f"{run.path} is finished already: {plan.model} on {plan.dataset}, {history.epochs} epochs")
    else:
        verb = "completing" if finished(plan, history) else "continuing"
        say(f"{verb} {plan.model} on {plan.dataset} in {run.path}")
    if "origin" not in info:
        say("It is of an older kcnn and keeps no record of its settings and images; see that they are still the same.")
    elif changes := check_recipe(info["origin"], plan, run.path):
        say(f"since it began: {changes}")
