"""Starting from weights that something else learned: what is loaded, what is frozen, what resumes, what is refused."""

import json
from importlib import import_module

import keras
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from helpers import one_line_error, random_images
from kcnn.data.images import read_image
from kcnn.data.registry import load_dataset
from kcnn.errors import KcnnError, UsageError
from kcnn.models.registry import build_model, normalization
from kcnn.native.acceleration import accelerate
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_stages
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from kcnn.starts import state_dict as weights
from kcnn.starts import transfer as finetune
from kcnn.starts.pretrained import Pretrained
from kcnn.training.construct import compile_model, new_model

train = import_module("kcnn.training.trainer").train
IMAGENET = torchvision.models.ResNet18_Weights.DEFAULT


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the training here."""
    for name in ("curves", "confusion"):
        monkeypatch.setattr(f"kcnn.plots.{name}", lambda *arguments: None)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """(a `.pth` file, its state dict) of torchvision's resnet18 with random weights."""
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    for key, tensor in state.items():
        if key.endswith("running_mean"):
            tensor.uniform_(-0.1, 0.1)
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(state, path)
    return path, {key: tensor.numpy() for key, tensor in state.items()}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture that is neither square nor 224 pixels wide."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    small = random_images(1, 9, 12, 3)[0]
    Image.fromarray(small).resize((413, 300)).save(path)
    return path


def values(model):
    return {variable.path: np.array(keras.ops.convert_to_numpy(variable)) for variable in model.weights}


def changed(before, after):
    """The names of the layers of which any variable is another."""
    return {path.split("/")[0] for path in before if not np.array_equal(before[path], after[path])}


# ---- frozen, then free -----------------------------------------------------------------------------------------------


def tiny_resnet(classes=3):
    return build_model("resnet20", (8, 8, 1), classes)


@pytest.mark.parametrize("native", [True, False])
def test_a_frozen_backbone_stands_still_with_its_batch_statistics(native):
    keras.utils.set_random_seed(0)
    model, images, targets = tiny_resnet(), random_images(12, 8, 8, 1), np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    seen = []
    for frozen in (True, False):
        before = values(model)
        finetune.freeze_backbone(model, frozen)
        compile_model(model, Recipe.of({"model": "resnet20"}))
        if native:
            assert accelerate(model)
        model.fit(images, targets, batch_size=6, epochs=1, verbose=0)
        seen.append(changed(before, values(model)))
    assert seen[0] == {"fc"}
    assert seen[1] == {layer.name for layer in model.layers if layer.weights}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [(0, 6, 0.4, False)]),
        ({"freeze_epochs": 2}, [(0, 2, 0.4, True), (2, 6, 0.04, False)]),
        ({"freeze_epochs": 2, "unfreeze_rate": 1.0}, [(0, 2, 0.4, True), (2, 6, 0.4, False)]),
        ({"freeze_epochs": 6}, [(0, 6, 0.4, True)]),
        ({"stages": [[2, 8], [4, 16]], "freeze_epochs": 2}, [(0, 2, 0.4, True), (2, 6, 0.04, False)]),
        (
            {"stages": [[4, 8], [2, 16, 0.2]], "freeze_epochs": 3},
            [(0, 3, 0.4, True), (3, 4, 0.04, False), (4, 6, 0.02, False)],
        ),
    ],
)
def test_stages_of_a_run_with_frozen_epochs(keys, expected):
    start = {"weights": "somewhere"} if "freeze_epochs" in keys else {}
    stages = plan_stages(Recipe.of({"epochs": 6, "learning_rate": 0.4, **start, **keys}))
    assert [(s.first, s.last, pytest.approx(s.learning_rate), s.frozen) for s in stages] == expected


@pytest.mark.parametrize(
    "keys",
    [{"optimizer": "sgd"}, {"optimizer": "sgd", "weight_decay": 0.1, "nesterov": True}, {"optimizer": "adam"}],
)
def test_the_backbone_can_have_a_lower_rate(keys):
    """After one step, each of its variables has moved a quarter as far; the head as far as ever."""
    steps = []
    for rate in (1.0, 0.25):
        keras.utils.set_random_seed(0)
        model = build_model("lenet5", (28, 28, 1), 3)
        compile_model(model, Recipe.of({"backbone_rate": rate, "learning_rate": 0.01, **keys}))
        accelerate(model)
        before = values(model)
        model.fit(random_images(4, 28, 28, 1), np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], verbose=0)
        steps.append({path: value - before[path] for path, value in values(model).items()})
    for path in steps[0]:
        factor = 1.0 if path.startswith("logits") else 0.25
        np.testing.assert_allclose(steps[1][path], factor * steps[0][path], rtol=2e-3, atol=2e-6)


class Killed(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_killed_around_the_thaw_resumes_to_the_last_bit(trained, tmp_path, monkeypatch, epoch):
    recipe = Recipe.of(
        {
            **{"limit_train": 120, "epochs": 4, "batch_size": 32, "learning_rate": 0.01, "schedule": "cosine"},
            **{"weights": str(trained[0]), "freeze_epochs": 2, "weight_decay": 1e-3},
        }
    )
    whole, broken = RunDir.create(tmp_path / "whole", ""), RunDir.create(tmp_path / "broken", "")
    train(recipe, whole)
    recorder = import_module("kcnn.training.callbacks.recorder").Recorder
    finish = recorder.on_epoch_end

    def finish_and_die(self, number, logs=None):
        finish(self, number, logs)
        if number + 1 == epoch:
            raise Killed

    monkeypatch.setattr(recorder, "on_epoch_end", finish_and_die)
    with pytest.raises(Killed):
        train(recipe, broken)
    monkeypatch.undo()
    train(recipe, broken, resume=True)
    for a, b in zip(load_model(whole.last)[0].get_weights(), load_model(broken.last)[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_epochs_do_not_use_up_the_patience():
    from kcnn.run.history import History

    rows = [{"epoch": e, "val_accuracy": 0.5, "val_loss": 1.0} for e in (1, 2, 3, 4)]
    assert History(rows).exhausted(2)
    assert not History(rows).exhausted(2, since=3)
    assert History(rows).exhausted(1, since=3)


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


# ---- predict and export ----------------------------------------------------------------------------------------------


def test_predict_names_imagenets_classes_without_training(resnet18, photo, tmp_path, cli, monkeypatch):
    """The same classes and probabilities as torchvision's network with its own preprocessing; from torch's cache."""
    path, state = resnet18
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(IMAGENET.value, "url", "http://localhost/resnet18-mine.pth")
    (cache / "resnet18-mine.pth").write_bytes(path.read_bytes())
    result = cli("predict", "--model", "resnet18", "--pretrained", photo, "--top", 5, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)[0]

    network = torchvision.models.resnet18().eval()
    network.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    with torch.inference_mode():
        expected = network(IMAGENET.transforms()(Image.open(photo))[None]).softmax(-1)[0]
    best = expected.topk(5)
    assert [top["class"] for top in found["top"]] == [IMAGENET.meta["categories"][index] for index in best.indices]
    np.testing.assert_allclose([top["probability"] for top in found["top"]], best.values, rtol=1e-3)

    exported = tmp_path / "resnet18.keras"
    assert cli("export", "--model", "resnet18", "--pretrained", path, "-o", exported).exit_code == 0
    again = json.loads(cli("predict", exported, photo, "--top", 5, "--json").stdout)[0]
    assert [top["class"] for top in again["top"]] == [top["class"] for top in found["top"]]
    plain = keras.saving.load_model(exported)
    assert (plain.input_shape, plain.output_shape) == ((None, 224, 224, 3), (None, 1000))


@pytest.mark.parametrize("size", [(300, 413), (256, 256), (100, 80), (1000, 257), (255, 511)])
def test_pictures_are_resized_and_cut_as_torchvision_does(tmp_path, size):
    pixels = random_images(1, size[1], size[0], 3)[0]
    Image.fromarray(pixels).save(tmp_path / "x.png")
    crop = torchvision.transforms
    transform = crop.Compose([crop.Resize(256), crop.CenterCrop(224)])
    expected = np.asarray(transform(Image.fromarray(pixels)))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", (224, 224, 3), 256), expected)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("predict", "--model", "resnet18", "--pretrained"), 2, ("Name pictures",)),
        (("predict", "--model", "lenet5", "--pretrained", "PHOTO"), 2, ("torchvision has no lenet5",)),
        (("predict", "--model", "resnet18", "PHOTO"), 2, ("--model and --pretrained go together",)),
        (("predict",), 2, ("Name either a run directory",)),
        (("predict", "--model", "vgg11", "--pretrained", "PHOTO", "--set", "epochs=3"), 2, ("model_options",)),
        (("predict", "--model", "vgg11", "--pretrained", "PHOTO"), 1, ("vgg11_bn-6002323d.pth", "--pretrained FILE")),
        (("export", "-o", "x.keras"), 2, ("Name either a run directory",)),
        (("export", "RUN", "--model", "vgg11", "--pretrained", "-o", "x.keras"), 2, ("Name either",)),
        (("export", "RUN", "--format", "torchvision", "-o", "x.pth"), 1, ("torchvision has no lenet5",)),
    ],
)
def test_wrong_uses_of_pretrained(cli, trained, photo, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    names = {"RUN": str(trained[0]), "PHOTO": str(photo)}
    one_line_error(cli(*(names.get(word, word) for word in arguments)), code, *words)


def test_the_cifar_stem_cannot_go_to_torchvision():
    from kcnn.export.to_torchvision import torchvision_counterpart

    with pytest.raises(KcnnError, match=r"3×3 CIFAR stem.*model_options\.stem=imagenet"):
        torchvision_counterpart(build_model("resnet18", (32, 32, 3), 10))
    assert torchvision_counterpart(build_model("vgg11", (32, 32, 3), 2)) == "vgg11_bn"
    assert torchvision_counterpart(build_model("vgg11", (32, 32, 3), 2, batch_norm=False)) == "vgg11"


def test_weights_of_a_file_for_another_network_are_refused(resnet18):
    model = build_model("resnet34", (32, 32, 3), 1000, stem="imagenet")
    with pytest.raises(KcnnError, match=r"do not fit resnet34: layer1_2_bn1/beta has no tensor layer1\.2\.bn1\.bias"):
        weights.load_state_dict(model, resnet18[1])
