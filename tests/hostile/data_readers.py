"""Images, data sets, recipes and runs: how to make a small file of each kind, and what the commands do with it."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from readers import SHAPE, row

from helpers import cifar_arrays, random_images, write_cifar_binary, write_mnist, write_tensors
from kcnn.compare.runs import compare_runs
from kcnn.data.images import read_image
from kcnn.data.preparation import Preparation
from kcnn.data.registry import load_dataset
from kcnn.recipes.files import read_recipe, shipped_recipes
from kcnn.recipes.stages import plan_stages
from kcnn.results.kept import keep_predictions, read_predictions
from kcnn.results.prediction import read_array, read_batches
from kcnn.run.directory import RunDir
from kcnn.run.history import History, read_history
from kcnn.studies.command import task_command
from kcnn.studies.page.build import to_html
from kcnn.studies.page.pictures import confusion
from kcnn.studies.paired import compare_paired
from kcnn.studies.study import read_study, shipped_studies
from kcnn.studies.table import runs_report
from kcnn.studies.tasks import plan_tasks

RESULT = {
    **{"test": {"accuracy": 0.5, "interval": [0.4, 0.6]}, "parameters": 3, "device": "cpu"},
    **{"best_epoch": 1, "epochs": 2, "seconds": 1.5, "images_per_second": 9.0},
}
MANIFEST = {"device": "cpu", "processors": 2, "python": "3.11", "versions": {"keras": "3"}}


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
            run.manifest.write_text(json.dumps(MANIFEST))
        return folder / "one" / file

    return make


def read_run(path):
    read_history(RunDir.open(path.parent))
    to_html(runs_report([path.parent]))
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
