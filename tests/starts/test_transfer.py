"""Starting from weights that something else learned: what is loaded, what is left out, what is refused."""

import json

import numpy as np
import pytest
import torch
import torchvision
from variables import changed, values

from helpers import one_line_error
from kcnn.data.registry import load_dataset
from kcnn.errors import UsageError
from kcnn.models.registry import build_model, normalization
from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import load_model
from kcnn.starts import transfer as finetune
from kcnn.starts.pretrained import Pretrained
from kcnn.training.construct import new_model

pytestmark = pytest.mark.usefixtures("no_pictures")


# ---- kcnn's own weights ----------------------------------------------------------------------------------------------


def test_the_same_classes_keep_the_head_and_the_normalisation(trained):
    dataset = load_dataset("digits")
    recipe = Recipe.of({"weights": str(trained[0])})
    source, _ = load_model(trained[0] / "best.keras")
    model = new_model(recipe, dataset)
    assert changed(values(source), values(model)) == set()
    other = type(dataset)(dataset.train, dataset.test, dataset.class_names, [0.9], [0.9])
    for found, expected in zip(normalization(new_model(recipe, other)), normalization(source), strict=True):
        assert found == pytest.approx(expected)


def test_other_classes_get_a_new_head_and_the_run_says_so(trained, tmp_path, cli):
    run = tmp_path / "run"
    arguments = ("--weights", trained[0], "--epochs", 1, "--limit-train", 60, "--set", 'classes=["3", "8", "1"]')
    result = cli("train", *arguments, "--freeze-epochs", 1, "--run", run)
    assert result.exit_code == 0, result.output
    assert "8 tensors loaded from" in result.stderr
    assert "left out: logits.weight, logits.bias (a new head: its 10 classes are not these 3)" in result.stderr
    source, tuned = load_model(trained[0] / "best.keras")[0], load_model(run / "last.keras")[0]
    before, after = values(source), values(tuned)
    assert changed({path: before[path] for path in before if not path.startswith("logits")}, after) == set()
    assert tuned.output_shape == (None, 3)
    assert all(layer.trainable for layer in tuned.layers)
    assert json.loads(cli("evaluate", run, "--json").stdout)["per_class"][0]["class"] == "3"


def test_the_model_and_its_options_come_from_the_weights(tmp_path, cli):
    small = ("--epochs", 1, "--limit-train", 30, "--validation", 0)
    first = tmp_path / "first"
    settings = ("--model", "simple_cnn", "--dataset", "digits", "--set", "model_options.pooling=average")
    assert cli("train", *settings, *small, "--run", first).exit_code == 0
    second = tmp_path / "second"
    result = cli("train", "--weights", first, *small, "--run", second)
    assert result.exit_code == 0, result.output
    text = (second / "recipe.toml").read_text()
    assert 'model = "simple_cnn"' in text
    assert '"pooling" = "average"' in text
    assert 'dataset = "digits"' in text
    refused = cli(
        "train", "--weights", first / "best.keras", "--dataset", "digits", *small, "--run", tmp_path / "third"
    )
    one_line_error(refused, 1, "another form of simple_cnn: AveragePooling2D there where MaxPooling2D is here")


def test_classes_of_a_set_keep_their_order_and_images():
    whole = load_dataset("digits")
    part = load_dataset("digits", classes=["7", "2"])
    assert part.class_names == ["7", "2"]
    np.testing.assert_array_equal(
        part.train.images[part.train.labels == 0], whole.train.images[whole.train.labels == 7]
    )
    np.testing.assert_array_equal(part.test.images[part.test.labels == 1], whole.test.images[whole.test.labels == 2])
    with pytest.raises(UsageError, match="unknown class 'two'"):
        load_dataset("digits", classes=["two", "7"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--weights", "none"), 1, ("no run directory or .keras file", "none")),
        (("--weights", "text.keras"), 1, ("text.keras is neither a run directory nor a .keras file",)),
        (("--weights", "."), 1, ("is not a run directory",)),
        (("--weights", "RUN", "--model", "simple_cnn", "--dataset", "digits"), 1, ("holds lenet5, but", "simple_cnn")),
        (("--weights", "RUN", "--pretrained", "--model", "vgg11"), 2, ("two starts",)),
        (("--freeze-epochs", "2"), 2, ("freeze_epochs needs a start",)),
        (("--weights", "RUN", "--freeze-epochs", "99"), 2, ("freeze_epochs must be at most epochs",)),
        (("--weights", "RUN", "--set", "backbone_rate=2"), 2, ("backbone_rate must be from",)),
        (("--pretrained",), 2, ("torchvision has no lenet5",)),
        (("--model", "resnet20", "--pretrained"), 2, ("torchvision has no resnet20",)),
        (("--model", "vgg11", "--pretrained", "a.txt"), 2, ("pretrained is 'imagenet' or a file", "a.txt")),
        (
            ("--model", "vgg11", "--dataset", "digits", "--pretrained", "a.pth"),
            1,
            ("There is no weights file", "a.pth"),
        ),
        (("--set", 'classes=["1"]'), 2, ("at least two different names",)),
    ],
)
def test_wrong_starts(cli, trained, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.keras").write_text("no zip file")
    result = cli(
        "train", *(str(trained[0]) if word == "RUN" else word for word in arguments), "--run", tmp_path / "run"
    )
    one_line_error(result, code, *words)


# ---- torchvision's weights -------------------------------------------------------------------------------------------


def source_of(state, **keys):
    return Pretrained("mine.pth", state, [0.5] * 3, [0.25] * 3, **keys)


def test_the_cifar_stem_stays_new_and_the_rest_is_loaded(resnet18):
    model = build_model("resnet18", (32, 32, 3), 10)
    before = values(model)
    said = finetune.transfer_weights(model, source_of(resnet18[1], class_names=["x"] * 1000), ["y"] * 10)
    kept = {layer.name for layer in model.layers if layer.weights} - changed(before, values(model))
    assert kept == {"conv1", "bn1", "fc"}
    for word in (
        "left out: conv1.weight, bn1.weight",
        "fc.weight, fc.bias",
        "a new stem: CIFAR's is 3×3",
        "1000 classes",
    ):
        assert word in said


def test_a_head_for_as_many_classes_is_kept(resnet18):
    state = {**resnet18[1], "fc.weight": np.ones((4, 512), np.float32), "fc.bias": np.ones(4, np.float32)}
    model = build_model("resnet18", (32, 32, 3), 4, stem="imagenet")
    assert finetune.transfer_weights(model, source_of(state), list("abcd")).endswith("the head among them.")
    np.testing.assert_array_equal(model.get_layer("fc").get_weights()[0], np.ones((512, 4)))


def test_training_from_pretrained_weights(resnet18, tmp_path, cli):
    """Grey digits become RGB; the preprocessing is that of torchvision's weights."""
    run = tmp_path / "run"
    small = ("--image-size", 32, "--epochs", 2, "--limit-train", 20, "--batch-size", 10, "--validation", 0)
    arguments = ("--model", "resnet18", "--dataset", "digits", "--pretrained", resnet18[0], *small)
    result = cli("train", *arguments, "--run", run)
    assert result.exit_code == 0, result.output
    assert "100 tensors loaded from" in result.stderr
    assert "recipe fine-tuning" in result.stderr
    recipe = (run / "recipe.toml").read_text()
    for line in ('"stem" = "imagenet"', "image_size = 32 ", "freeze_epochs = 1 ", f'pretrained = "{resnet18[0]}"'):
        assert line in recipe
    model, _ = load_model(run / "best.keras")
    assert model.input_shape == (None, 28, 28, 1)
    mean, std = normalization(model)
    assert (mean, std) == (pytest.approx([0.485, 0.456, 0.406]), pytest.approx([0.229, 0.224, 0.225]))
    rates = [float(line.split(",")[5]) for line in (run / "log.csv").read_text().splitlines()[1:]]
    assert rates[1] < 0.1 * rates[0]

    exported = tmp_path / "out.pth"
    assert cli("export", run, "--format", "torchvision", "-o", exported).exit_code == 0
    torchvision.models.resnet18(num_classes=10).load_state_dict(torch.load(exported, weights_only=True), strict=True)


def test_image_size_is_224_unless_it_is_chosen():
    assert finetune.imagenet_input("resnet18") == {"image_size": 224, "model_options.stem": "imagenet"}
    assert finetune.imagenet_input("resnet18", 32, ["stem"]) == {}
    assert finetune.imagenet_input("vgg16") == {"image_size": 224}
