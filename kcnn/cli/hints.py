"""Did you mean: the option that a wrong one stands for, which `click` compares as a whole only."""

import difflib

import click

# What other programs call it, where neither letters nor words of the name lead there.
KNOWN_AS = {"gpu": "--device", "cuda": "--device", "out": "--run", "output": "--run"}


def did_you_mean(error: click.NoSuchOption) -> click.NoSuchOption:
    """The same error with the nearest options of its command, if any is near."""
    near = near_options(error.option_name, error.ctx.command) if error.ctx else []
    hint = f" Did you mean {' or '.join(near)}?" if near else " See --help."
    return click.NoSuchOption(error.option_name, f"No such option {error.option_name}.{hint}", ctx=error.ctx)


def near_options(wrong: str, command: click.Command) -> list[str]:
    """Up to three ways to write what `wrong` may mean: options of the command, and recipe keys where it has `--set`."""
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    names = {option: option.strip("-") for option in options}
    if "--set" in options:
        from kcnn.recipes.recipe import FIELDS

        keys = {key: key.replace("_", "-") for key in FIELDS if f"--{key.replace('_', '-')}" not in options}
        names |= {f"--set {key}=VALUE": name for key, name in keys.items()}
    word = wrong.strip("-").replace("_", "-").lower()
    if KNOWN_AS.get(word) in options:
        return [KNOWN_AS[word]]
    ranked = sorted((-_likeness(word, name), written) for written, name in names.items())
    return [written for rank, written in ranked if rank <= min(-0.65, ranked[0][0] + 0.1)][:3]


def _likeness(word: str, name: str) -> float:
    """0…1: the same, its first letters (`lr`), one of its words or the beginning of one, or much the same letters."""
    parts = name.split("-")
    if word in (name, name.replace("-", "")):
        return 1.0
    if len(parts) > 1 and word == "".join(part[0] for part in parts):
        return 0.95
    if len(word) > 2 and name.startswith(word):
        return 0.95
    if word in parts:
        return 0.8
    near = len(word) > 2 and any(part.startswith(word) or word.startswith(part) for part in parts if len(part) > 2)
    return max(0.75 * near, difflib.SequenceMatcher(None, word, name).ratio())
