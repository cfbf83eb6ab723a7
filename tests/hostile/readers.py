"""Each kind of file that a command reads: how to make one, how to damage it, and what the commands do with it."""

import json
import shutil
from pathlib import Path

import mutations
import numpy as np
import torch
from PIL import Image

from helpers import cifar_arrays, random_images, write_cifar_binary, write_mnist, write_tensors
from kcnn.compare.runs import compare_runs
from kcnn.data.images import read_image
from kcnn.data.preparation import Preparation
from kcnn.data.registry import load_dataset
from kcnn.methods.optimizers import make_optimizer
from kcnn.models.registry import build_model
from kcnn.recipes.files import read_recipe, shipped_recipes
from kcnn.recipes.stages import plan_stages
from kcnn.results.kept import keep_predictions, read_predictions
from kcnn.results.logits import predict_logits
from kcnn.results.onnx_model import OnnxModel
from kcnn.results.prediction import predict, read_array, read_batches
from kcnn.run.checkpoint import check_classes, open_model, read_info, restore_optimizer, save_model
from kcnn.run.directory import RunDir
from kcnn.run.history import History, read_history
from kcnn.starts.pretrained import read_state_dict
from kcnn.starts.state_dict import load_state_dict, to_state_dict
from kcnn.starts.transfer import described, own_weights
from kcnn.studies.command import task_command
from kcnn.studies.page.pictures import confusion
from kcnn.studies.paired import compare_paired
from kcnn.studies.study import read_study, shipped_studies
from kcnn.studies.tasks import plan_tasks
from kcnn.training.state import resumable

NAMES = ["cat", "dog", "猫"]
SHAPE = (12, 12, 1)
RESULT = {
    **{"test": {"accuracy": 0.5, "interval": [0.4, 0.6]}, "parameters": 3, "device": "cpu"},
    **{"best_epoch": 1, "epochs": 2, "seconds": 1.5, "images_per_second": 9.0},
}
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


def make_onnx(folder, names=NAMES):
    """uint8 images → float → one row a picture → logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size = int(np.prod(SHAPE))
    weights = np.random.default_rng(0).random((size, 3), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
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


# ---- images and data sets --------------------------------------------------------------------------------------------


def make_npy(folder):
    np.save(folder / "images.npy", random_images(3, *SHAPE))
    return folder / "images.npy"


def make_npz(folder):
    np.savez_compressed(folder / "images.npz", images=random_images(3, *SHAPE), labels=np.arange(3))
    return folder / "images.npz"


def read_arrays(path):
    assert sum(len(names) for names, _, _ in read_batches([path], Preparation(SHAPE), [])) == len(read_array(path))


def make_picture(suffix):
    def make(folder):
        picture = Image.fromarray(random_images(1, 24, 20, 3)[0])
        picture = picture.convert("P") if suffix == "gif" else picture
        picture.save(folder / f"picture.{suffix}", **({"compression": "tiff_lzw"} if suffix == "tif" else {}))
        return folder / f"picture.{suffix}"

    return make


def read_picture(path):
    assert read_image(path, Preparation((16, 16, 3))).shape == (16, 16, 3)
    assert read_image(path, Preparation((16, 16, 1), 20)).shape == (16, 16, 1)


def make_mnist(file):
    def make(folder):
        write_mnist(folder, packed=False)
        return folder / "MNIST/raw" / file

    return make


def read_mnist(path):
    load_dataset("mnist", str(path.parents[2]))


def make_cifar(name, file):
    def make(folder):
        return write_cifar_binary(folder, name, cifar_arrays(name, train=20, test=10)) / file

    return make


def read_cifar10(path):
    data = load_dataset("cifar10", str(path.parents[1]))
    assert all(name.encode() for name in data.class_names)


def read_cifar100(path):
    load_dataset("cifar100", str(path.parents[1]))
    load_dataset("cifar100_coarse", str(path.parents[1]))


def make_tensors(file):
    def make(folder):
        write_tensors(folder)
        return folder / file

    return make


def read_tensors(path):
    load_dataset("tensors", str(path.parent))


# ---- recipes and runs ------------------------------------------------------------------------------------------------


def make_recipe(folder):
    return Path(shutil.copy(shipped_recipes()["alexnet-cifar10"], folder / "recipe.toml"))


def read_toml(path):
    recipe = read_recipe(path)
    assert plan_stages(recipe)
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(path) == recipe


def make_run(file):
    def make(folder):
        for name in ("one", "two"):
            run = RunDir.create(folder / name, "")
            shutil.copy(shipped_recipes()["lenet5-digits"], run.recipe)
            run.log.write_text(History([row(1), row(2)]).to_csv())
            run.result.write_text(json.dumps(RESULT))
        return folder / "one" / file

    return make


def read_run(path):
    read_history(RunDir.open(path.parent))
    compare_runs([path.parent, path.parents[1] / "two"], path.parents[1] / "curves.png")


def make_predictions(folder):
    keep_predictions(folder / "predictions.npz", np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 5)
    return folder / "predictions.npz"


def read_kept(path):
    found = read_predictions(path)
    assert compare_paired("itself", [found], [found]).p == 1
    assert confusion(found, list(map(str, range(found.probabilities.shape[1]))))["names"]


def make_study(folder):
    return Path(shutil.copy(shipped_studies()["report1"], folder / "study.toml"))


def read_rows(path):
    for task in plan_tasks(read_study(path), path.parent, seeds=[0]):
        assert task.path.parents[1] == path.parent
        assert task_command(task)


# Kind → (make a file in an empty folder, damage its bytes, read it as the commands do).
KINDS = {
    "keras": (make_keras, mutations.damage_zip, read_keras),
    "onnx": (make_onnx, mutations.damage, read_onnx),
    "pth": (make_pth, mutations.damage_zip, read_weights),
    "pth-old": (make_old_pth, mutations.damage, read_weights),
    "safetensors": (make_safetensors, mutations.damage, read_weights),
    "npy": (make_npy, mutations.damage, read_arrays),
    "npz": (make_npz, mutations.damage_zip, read_arrays),
    **{kind: (make_picture(kind), mutations.damage, read_picture) for kind in ("jpg", "gif", "tif", "webp", "bmp")},
    "png": (make_picture("png"), mutations.damage_png, read_picture),
    "idx-images": (make_mnist("train-images-idx3-ubyte"), mutations.damage, read_mnist),
    "idx-labels": (make_mnist("t10k-labels-idx1-ubyte"), mutations.damage, read_mnist),
    "cifar10": (make_cifar("cifar10", "data_batch_3.bin"), mutations.damage, read_cifar10),
    "cifar10-names": (make_cifar("cifar10", "batches.meta.txt"), mutations.damage_text, read_cifar10),
    "cifar100": (make_cifar("cifar100", "test.bin"), mutations.damage, read_cifar100),
    "cifar100-names": (make_cifar("cifar100", "fine_label_names.txt"), mutations.damage_text, read_cifar100),
    "tensors": (make_tensors("test_data.pth"), mutations.damage_zip, read_tensors),
    "tensor-labels": (make_tensors("train_labels.pth"), mutations.damage_zip, read_tensors),
    "predictions": (make_predictions, mutations.damage_zip, read_kept),
    "study": (make_study, mutations.damage_text, read_rows),
    "recipe": (make_recipe, mutations.damage_text, read_toml),
    "log": (make_run("log.csv"), mutations.damage_text, read_run),
    "result": (make_run("result.json"), mutations.damage_json, read_run),
}
