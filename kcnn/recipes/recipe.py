"""A recipe: everything that decides a training run. TOML and command-line options in, one frozen object out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args, get_origin

from kcnn.data.augment.operations import check_magnitudes
from kcnn.data.registry import DATASETS
from kcnn.errors import UsageError, unknown
from kcnn.machine.backend import BACKENDS, PRECISIONS, check_device
from kcnn.methods.optimizers import KINDS, MOMENTA, OPTIMIZERS
from kcnn.methods.schedules import SCHEDULES
from kcnn.models.counterparts import check_source
from kcnn.models.registry import MODELS, check_options


def _choice(default: str, allowed: Any, what: str) -> Any:
    return field(default=default, metadata={"allowed": allowed, "help": what})


def _number(default: float, low: float, high: float, what: str) -> Any:
    return field(default=default, metadata={"range": (low, high), "help": what})


MOST = 10**9


@dataclass(frozen=True)
class Recipe:
    """The settings of one run. Construct with `Recipe.of(...)`, which checks them all."""

    model: str = _choice("lenet5", MODELS, "architecture")
    model_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "options of the architecture"})
    dataset: str = _choice("digits", DATASETS, "data set")
    data_dir: str = field(default="", metadata={"help": "folder of the data; default KCNN_DATA_DIR or ~/.cache/kcnn"})
    classes: list[str] = field(default_factory=list, metadata={"help": "names of the classes to keep; []: all"})
    pretrained: str = field(default="", metadata={"help": "start: imagenet (torchvision) or a .pth, .safetensors file"})
    weights: str = field(default="", metadata={"help": "start: a run directory or .keras file of kcnn's own"})
    freeze_epochs: int = _number(0, 0, MOST, "first epochs in which only the head trains, the backbone frozen")
    unfreeze_rate: float = _number(0.1, 1e-9, 1, "factor on the learning rate after the frozen epochs")
    backbone_rate: float = _number(1.0, 1e-9, 1, "factor on the learning rate of all but the head")
    image_size: int = _number(0, 0, 4096, "pixels a side that the network sees; 0: as they come")
    skip_bad: bool = field(default=False, metadata={"help": "leave out pictures that do not decode"})
    limit_train: int = _number(0, 0, MOST, "use this many training images, drawn class by class; 0: all")
    validation: float = _number(0.1, 0, 0.9, "part of the training images that picks the best epoch")
    epochs: int = _number(20, 1, MOST, "passes over the training images")
    batch_size: int = _number(64, 1, MOST, "images in a step")
    drop_last: bool = field(default=False, metadata={"help": "leave out the last, smaller batch of each epoch"})
    stages: list[list[float]] = field(
        default_factory=list, metadata={"help": "[[epochs, batch_size, learning_rate], …], the rate optional"}
    )
    optimizer: str = _choice("sgd", OPTIMIZERS, "optimizer")
    learning_rate: float = _number(0.05, 1e-12, 1e3, "highest rate of the schedule")
    momentum: float = _number(0.9, 0, 0.9999, "of sgd and rmsprop")
    nesterov: bool = field(default=False, metadata={"help": "Nesterov's form of sgd's momentum"})
    momentum_of: str = _choice(
        "steps", MOMENTA, "what sgd's momentum sums: steps as in Keras, or gradients as in torch"
    )
    rate_factors: dict[str, float] = field(
        default_factory=dict, metadata={"help": f"on the learning rate, by kind of variable: {', '.join(KINDS)}"}
    )
    weight_decay: float = _number(0.0, 0, 10, "coupled L2 as in torch: gradient + weight_decay * weight")
    decoupled_weight_decay: float = _number(0.0, 0, 10, "AdamW's: weight *= 1 - rate * decay")
    decay_factors: dict[str, float] = field(
        default_factory=dict, metadata={"help": "on either weight decay, by kind of variable"}
    )
    clip_norm: float = _number(0.0, 0, MOST, "largest norm of the whole gradient; 0: no clipping")
    gradient_accumulation_steps: int = _number(1, 1, 10**6, "steps whose mean gradient makes one update")
    ema: float = _number(0.0, 0, 0.99999, "decay of the averaged weights that are evaluated and saved; 0: none")
    lookahead: int = _number(0, 0, MOST, "steps after which the weights meet their slow average; 0: none")
    lookahead_decay: float = _number(0.5, 0, 1, "share of the slow average in that, at the end of the run")
    lookahead_power: float = _number(0.0, 0, 100, "the share rises with the time to this power")
    schedule: str = _choice("constant", SCHEDULES, "how the learning rate changes")
    step_epochs: int = _number(10, 1, MOST, "step: epochs between changes; plateau: epochs of patience")
    milestones: list[int] = field(
        default_factory=list, metadata={"help": "multistep: epochs of the changes, after the warm-up"}
    )
    gamma: float = _number(0.1, 1e-6, 1, "factor of the schedules step, multistep, exponential, plateau")
    start_factor: float = _number(0.2, 0, 1, "triangle: factor on the rate at the start, which rises to 1")
    peak_time: float = _number(0.23, 0, 1, "triangle: part of the run after which it is 1")
    end_factor: float = _number(0.07, 0, 1, "triangle: factor at the end")
    warmup_epochs: float = _number(0.0, 0, MOST, "linear rise before the schedule")
    augment: dict[str, float] = field(default_factory=dict, metadata={"help": "augmentations and their magnitudes"})
    label_smoothing: float = _number(0.0, 0, 0.9, "part of the target spread over all classes")
    patience: int = _number(0, 0, MOST, "stop after this many epochs without a better one; 0: never")
    seed: int = _number(0, 0, 2**31, "of weights, split, order and augmentation")
    tensorboard: bool = field(default=False, metadata={"help": "write TensorBoard's event files into the run"})
    precision: str = _choice("float32", PRECISIONS, "Keras dtype policy")
    backend: str = _choice("torch", BACKENDS, "Keras backend")
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Recipe":
        """A checked recipe from plain values, as a TOML file or the command line gives them.

        Raises:
            UsageError: naming every unknown key and wrong value at once.
        """
        errors = [unknown("recipe key", key, FIELDS) for key in values if key not in FIELDS]
        good = {}
        for key in [name for name in FIELDS if name in values]:
            try:
                good[key] = _checked(key, values[key])
            except UsageError as error:
                errors.append(str(error))
        recipe = cls(**good)
        errors += _inconsistent(recipe)
        if errors:
            raise UsageError(" ".join(errors))
        return recipe

    def replace(self, /, **values: Any) -> "Recipe":
        """A checked copy with other values; nested keys as in `model_options.pooling` change one entry."""
        merged = asdict(self)
        for key, value in values.items():
            table, dot, entry = key.partition(".")
            if dot and isinstance(merged.get(table), dict):
                merged[table] = {**merged[table], entry: value}
            else:
                merged[key] = value
        return Recipe.of(merged)

    def to_toml(self) -> str:
        """The recipe as a TOML file, every key with its meaning."""
        lines = [f"{f.name} = {_toml(getattr(self, f.name))}" for f in fields(self)]
        width = max(len(line) for line in lines if len(line) < 50)
        helps = [f.metadata["help"] for f in fields(self)]
        return "".join(f"{line:{width}}  # {text}\n" for line, text in zip(lines, helps, strict=True))


def _checked(key: str, value: Any) -> Any:
    kind: Any = FIELDS[key].type
    metadata = FIELDS[key].metadata
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(min(max(value, -(2**1000)), 2**1000))  # TOML's whole numbers can be larger than a float
    if not isinstance(value, get_origin(kind) or kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{key} must be {_words(kind)}; received {value!r}.")
    if "allowed" in metadata and value not in metadata["allowed"]:
        raise UsageError(unknown(key.replace("dataset", "data set"), value, metadata["allowed"]))
    if "range" in metadata:
        low, high = metadata["range"]
        if not low <= value <= high:
            raise UsageError(f"{key} must be from {low:g} to {high:g}; received {value!r}.")
    return CHECKS.get(key, lambda v: v)(value)


def _words(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    if get_origin(kind) is list:
        return f"a list of {names.get(get_args(kind)[0], 'list').removeprefix('a ')}s"
    return names.get(kind, "a table of names and values")


def _check_milestones(value: list[Any]) -> list[int]:
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in value) or value != sorted(set(value)):
        raise UsageError(f"milestones must be rising whole numbers of epochs, at least 1; received {value!r}.")
    return value


def _check_stages(value: list[Any]) -> list[list[float]]:
    """Each number is checked as the key of its name is."""
    names = ("epochs", "batch_size", "learning_rate")
    for stage in value:
        if not isinstance(stage, list) or len(stage) not in (2, 3):
            raise UsageError(
                f"stages must be lists [{', '.join(names[:2])}] or [{', '.join(names)}]; received {stage!r}."
            )
        for name, number in zip(names, stage, strict=False):
            whole = name != "learning_rate" and isinstance(number, float) and number.is_integer()
            try:
                _checked(name, int(number) if whole else number)
            except UsageError as error:
                raise UsageError(f"stages, {stage!r}: {error}") from error
    return value


def _check_classes(value: list[Any]) -> list[str]:
    if any(not isinstance(v, str) for v in value) or len(value) != len(set(value)) or len(value) == 1:
        raise UsageError(f"classes must be at least two different names of classes, or []; received {value!r}.")
    return value


def _check_factors(value: dict[str, Any]) -> dict[str, float]:
    wrong = [unknown("kind of variable", kind, KINDS) for kind in value if kind not in KINDS]
    for kind, factor in value.items():
        number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
        if not wrong and not (number and 0 <= factor <= MOST):
            wrong.append(f"the factor of {kind} must be a number from 0 to {MOST:g}; received {factor!r}.")
    if wrong:
        raise UsageError(" ".join(wrong))
    return {kind: float(factor) for kind, factor in value.items()}


FIELDS = {f.name: f for f in fields(Recipe)}
CHECKS: dict[str, Callable[[Any], Any]] = {
    "augment": check_magnitudes,
    "classes": _check_classes,
    "decay_factors": _check_factors,
    "rate_factors": _check_factors,
    "milestones": _check_milestones,
    "device": check_device,
    "stages": _check_stages,
}


def _inconsistent(recipe: Recipe) -> list[str]:
    """Sentences for values that are right one by one but not together."""
    errors = []
    try:
        check_options(recipe.model, recipe.model_options)
    except UsageError as error:
        errors.append(str(error))
    else:
        errors += _unfit_start(recipe)
    if recipe.warmup_epochs >= recipe.epochs:
        errors.append(f"warmup_epochs must be below epochs ({recipe.epochs}); received {recipe.warmup_epochs:g}.")
    if recipe.stages and sum(stage[0] for stage in recipe.stages) != recipe.epochs:
        total = sum(stage[0] for stage in recipe.stages)
        errors.append(f"stages must add up to epochs ({recipe.epochs}); received {total:g}.")
    if recipe.schedule == "multistep" and not recipe.milestones:
        errors.append("schedule multistep needs milestones, such as --set milestones=[30,40].")
    if recipe.nesterov and (recipe.optimizer != "sgd" or not recipe.momentum):
        errors.append("nesterov needs optimizer sgd with a momentum above 0.")
    if recipe.momentum_of == "gradients" and (recipe.optimizer != "sgd" or not recipe.momentum):
        errors.append("momentum_of gradients needs optimizer sgd with a momentum above 0.")
    if recipe.patience and not recipe.validation:
        errors.append("patience needs validation images: set validation above 0.")
    return errors + (_unfit_bfloat16(recipe) if recipe.precision == "bfloat16" else [])


def _unfit_bfloat16(recipe: Recipe) -> list[str]:
    """Sentences for what Keras cannot do with weights in bfloat16."""
    instead = "with precision bfloat16: choose mixed_bfloat16, which keeps the weights in float32"
    errors = []
    if recipe.optimizer == "nadam":
        errors.append(f"optimizer nadam divides by 0 {instead}, or another optimizer.")
    if recipe.clip_norm and recipe.backend == "tensorflow":
        errors.append(f"clip_norm does not work on tensorflow {instead}, or another backend.")
    return errors


def _unfit_start(recipe: Recipe) -> list[str]:
    """Sentences for the keys of fine-tuning that do not go together."""
    errors = []
    if recipe.pretrained:
        try:
            check_source(recipe.pretrained, recipe.model, recipe.model_options)
        except UsageError as error:
            errors.append(str(error))
    if recipe.pretrained and recipe.weights:
        errors.append("pretrained and weights are two starts: give one of them.")
    if recipe.freeze_epochs and not (recipe.pretrained or recipe.weights):
        errors.append("freeze_epochs needs a start that is worth keeping: pretrained or weights.")
    if recipe.freeze_epochs > recipe.epochs:
        errors.append(f"freeze_epochs must be at most epochs ({recipe.epochs}); received {recipe.freeze_epochs}.")
    return errors


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # TOML has no escapes for halves of a character, as JSON does
