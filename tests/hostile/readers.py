"""Models and weights: how to make a small file of each kind, and what the commands do with it."""

import json
import shutil

import numpy as np
import torch

from helpers import random_images
from kcnn.data.preparation import Preparation
from kcnn.methods.optimizers import make_optimizer
from kcnn.models.registry import build_model
from kcnn.recipes.files import read_recipe, shipped_recipes
from kcnn.results.logits import predict_logits
from kcnn.results.onnx_model import OnnxModel
from kcnn.results.prediction import predict
from kcnn.run.checkpoint import check_classes, open_model, read_info, restore_optimizer, save_model
from kcnn.run.directory import RunDir
from kcnn.starts.pretrained import read_state_dict
from kcnn.starts.state_dict import load_state_dict, to_state_dict
from kcnn.starts.transfer import described, own_weights
from kcnn.training.state import resumable

NAMES = ["cat", "dog", "猫"]
SHAPE = (12, 12, 1)
IMAGES = random_images(2, *SHAPE)


def tiny_model():
    return build_model("lenet5", SHAPE, len(NAMES))


def one_step_optimizer(model):
    optimizer = make_optimizer("sgd", 0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    return optimizer


def row(epoch):
    keys = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second", "seconds")
    return {"epoch": epoch, **dict.fromkeys(keys, 0.5 / epoch)}


# ---- models ----------------------------------------------------------------------------------------------------------


def make_keras(folder):
    """A checkpoint in a run directory."""
    model, path = tiny_model(), folder / "last.keras"
    shutil.copy(shipped_recipes()["lenet5-digits"], folder / "recipe.toml")
    info = {"class_names": NAMES, "epoch": 2, "history": [row(1), row(2)], "resize": 0}
    save_model(model, path, info, one_step_optimizer(model))
    return path


def read_keras(path):
    """`kcnn predict`, `export`, `train --weights` and `--resume`."""
    check_classes(path, read_info(path).get("class_names", NAMES))
    model, names = open_model(path)
    for ranked in predict(model, names, [(["a", "b"], random_images(2, *model.input_shape[1:]), [])]):
        assert 0 <= ranked["top"][0]["probability"] <= 1
    assert Preparation.of(model.input_shape[1:], read_info(path)).resize >= 0
    described(path)
    own_weights(path, "lenet5")
    restore_optimizer(one_step_optimizer(model), path)
    run = RunDir(path.parent)
    _, history = resumable(read_recipe(run.recipe), run)
    assert history.to_csv()


def make_onnx(folder, names=NAMES, outputs=3):
    """uint8 images → float → one row a picture → logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size = int(np.prod(SHAPE))
    weights = np.random.default_rng(0).random((size, outputs), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"class_names": json.dumps(names)})
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def read_onnx(path):
    """`kcnn predict`."""
    model = OnnxModel(path)
    shape = tuple(model.input_shape[1:])
    for ranked in predict(model, model.class_names, [(["a", "b"], random_images(2, *shape), [])]):
        assert ranked["top"]
    assert Preparation.of(shape, model.info).resize >= 0


# ---- weights ---------------------------------------------------------------------------------------------------------


def tensors_of_tiny_model():
    return {key: torch.from_numpy(array.copy()) for key, array in to_state_dict(tiny_model()).items()}


def make_pth(folder):
    torch.save(tensors_of_tiny_model(), folder / "weights.pth")
    return folder / "weights.pth"


def make_old_pth(folder):
    torch.save(tensors_of_tiny_model(), folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder / "old.pth"


def make_safetensors(folder):
    from safetensors.torch import save_file

    save_file({key: tensor.contiguous() for key, tensor in tensors_of_tiny_model().items()}, folder / "w.safetensors")
    return folder / "w.safetensors"


def read_weights(path):
    """`--pretrained FILE`."""
    model = tiny_model()
    load_state_dict(model, read_state_dict(path))
    assert np.isfinite(predict_logits(model, IMAGES)).all()
