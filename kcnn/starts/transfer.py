"""Start from what something else learned: torchvision's weights, or those of one of kcnn's own models.

The Keras guide's way of fine-tuning: the new head learns first, while the rest (the backbone) stands still with its
batch norms in inference mode; then everything learns, at a lower rate.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, shown
from kcnn.models.registry import MODELS, build_model, normalization
from kcnn.run.directory import RunDir
from kcnn.run.keras_file import read_name
from kcnn.starts.pretrained import HEADS, Pretrained, load_pretrained
from kcnn.starts.state_dict import fit_classifier, layer_name, load_state_dict, to_state_dict

# What `--pretrained` changes where no recipe is named: those are made for training from scratch.
SETTINGS: dict[str, Any] = {
    "epochs": 6,
    "freeze_epochs": 1,
    "batch_size": 32,
    "optimizer": "sgd",
    "learning_rate": 0.03,
    "unfreeze_rate": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "warmup_epochs": 0,
    "augment": {"flip": 0.5},
}
PREPROCESSING = ("InputLayer", "Rescaling", "Resizing", "Concatenate")


def imagenet_input(model: str, image_size: int = 0, options: Any = ()) -> dict[str, Any]:
    """The recipe keys that let a network see images as it did on ImageNet, where they are not chosen yet."""
    keys: dict[str, Any] = {} if image_size else {"image_size": 224}
    if MODELS[model].family == "resnet" and "stem" not in options:
        keys["model_options.stem"] = "imagenet"
    return keys


def pretrained_model(source: str, name: str, options: Mapping[str, Any]) -> tuple[Any, list[str], int]:
    """(Keras model, class names, pixels to bring the shorter side of a picture to) of torchvision's weights.

    Args:
        source, name, options: see `load_pretrained`; a ResNet has the ImageNet stem unless the options say otherwise.
    """
    options = {**({"stem": "imagenet"} if MODELS[name].family == "resnet" else {}), **options}
    found = load_pretrained(source, name, options)
    if not found.classes:
        head = HEADS[MODELS[name].family]
        raise KcnnError(f"{found.title} has no tensor {head}, so it knows no classes: give a whole state dict.")
    names = found.class_names or [str(index) for index in range(found.classes)]
    shape = (found.image_size, found.image_size, 3)
    model = build_model(name, shape, len(names), mean=found.mean, std=found.std, **options)
    load_state_dict(model, fit_classifier(model, found.state))
    return model, names, found.resize


def described(path: Path) -> dict[str, Any]:
    """The recipe keys of kcnn's own weights: `model`, of a run also `model_options` and `dataset`; keras is not needed.

    Raises:
        KcnnError: neither a run with a checkpoint nor a `.keras` file.
    """
    from kcnn.recipes.files import read_recipe

    if path.is_dir():
        recipe = read_recipe(RunDir.open(path).recipe)
        return {key: getattr(recipe, key) for key in ("model", "model_options", "dataset")}
    if not path.exists():
        raise KcnnError(f"There is no run directory or .keras file {path}.")
    if not zipfile.is_zipfile(path):
        raise KcnnError(f"{path} is neither a run directory nor a .keras file: --weights takes those.")
    return {"model": read_name(path)}


def own_weights(path: Path, model: str) -> Pretrained:
    """The weights of a run directory or `.keras` file, with the normalisation that is part of its model.

    Raises:
        KcnnError: no such file, or it holds another architecture than `model`.
    """
    from kcnn.run.checkpoint import open_model

    source, class_names = open_model(path)
    if source.name != model:
        name = shown(source.name)
        raise KcnnError(f"{path} holds {name}, but the model is {model}. Name --model {name}, or none.")
    try:
        mean, std = normalization(source)
        state = to_state_dict(source)
    except KcnnError:
        raise
    except Exception as error:  # of any kind: a model of somebody else's that has a name of kcnn's
        raise KcnnError(f"{path} was not written by kcnn: its model has no layer 'normalize'.") from error
    return Pretrained(str(path), state, mean, std, class_names=class_names, layers=_kinds(source))


def find_source(pretrained: str, weights: str, model: str, options: Any) -> Pretrained | None:
    """What a recipe starts from: torchvision's weights, kcnn's own, or nothing."""
    if pretrained:
        return load_pretrained(pretrained, model, options)
    return own_weights(Path(weights), model) if weights else None


def transfer_weights(model: Any, source: Pretrained, class_names: Sequence[str]) -> str:
    """Give a new model the weights of `source`, and return a sentence that says what was left out.

    The head stays new where the classes differ; a ResNet's CIFAR stem stays new where the source has ImageNet's.

    Raises:
        KcnnError: the weights do not fit otherwise.
    """
    if source.layers is not None and source.layers != (found := _kinds(model)):
        here, there = next((a, b) for a, b in zip([*found, "none"], [*source.layers, "none"], strict=False) if a != b)
        raise KcnnError(
            f"{source.title} holds another form of {model.name}: {there} there where {here} is here. "
            f"Give the same model_options."
        )
    state = source.state if source.layers is not None else fit_classifier(model, source.state)
    reasons = {**_other_head(model, source, class_names), **_other_stem(model, source)}
    unused = load_state_dict(model, state, leave_out=reasons)
    left_out = [key for key in unused if layer_name(key) in reasons]
    loaded = f"{len(state) - len(unused)} tensors loaded from {source.title}"
    if not left_out:
        return f"{loaded}, the head among them."
    return f"{loaded}; left out: {', '.join(left_out)} ({', '.join(dict.fromkeys(reasons.values()))})."


def freeze_backbone(model: Any, frozen: bool) -> None:
    """Let only the head train, or everything again; compile afterwards.

    A Keras batch norm that is not trainable runs in inference mode, so its statistics stand still too.
    """
    from kcnn.models.layers import unfreeze

    unfreeze(model)
    for layer in model.layers[:-1] if frozen else ():
        layer.trainable = False


def backbone_rates(model: Any, rate: float) -> list[float]:
    """The factor on the learning rate of each of the model's trainable variables: `rate`, and 1 for the head's."""
    head = {variable.path for variable in model.layers[-1].trainable_variables}
    return [1.0 if variable.path in head else rate for variable in model.trainable_variables]


def _other_head(model: Any, source: Pretrained, class_names: Sequence[str]) -> dict[str, str]:
    head = model.layers[-1].name
    bias = source.state.get(f"{head.replace('_', '.')}.bias", ())
    if len(bias) == len(class_names) and source.class_names in (None, list(class_names)):
        return {}
    return {head: f"a new head: its {len(bias)} classes are not these {len(class_names)}"}


def _other_stem(model: Any, source: Pretrained) -> dict[str, str]:
    kernel = source.state.get("conv1.weight")
    if MODELS[model.name].family != "resnet" or kernel is None or source.layers is not None:
        return {}
    if model.get_layer("conv1").kernel.shape[0] == kernel.shape[-1]:
        return {}
    return dict.fromkeys(("conv1", "bn1"), "a new stem: CIFAR's is 3×3, this one is ImageNet's")


def _kinds(model: Any) -> list[str]:
    """The class and activation of each layer after the preprocessing: what the weights alone do not tell."""
    kinds = []
    for layer in model.layers:
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        kinds.append(f"{type(layer).__name__} {activation}".strip())
    return [kind for kind in kinds if kind.split()[0] not in PREPROCESSING]
