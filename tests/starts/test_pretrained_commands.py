"""`kcnn predict` and `kcnn export` with torchvision's weights, without training."""

import json

import keras
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from helpers import one_line_error, random_images
from kcnn.data.images import read_image
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError
from kcnn.models.registry import build_model
from kcnn.starts import state_dict as weights

IMAGENET = torchvision.models.ResNet18_Weights.DEFAULT


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
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", Preparation((224, 224, 3), 256)), expected)


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


def with_other_tensors(resnet18, folder, change):
    """A file of resnet18's weights that `change` has changed."""
    state = torch.load(resnet18[0], weights_only=True)
    change(state)
    torch.save(state, folder / "other.pth")
    return folder / "other.pth"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("fc.bias"), ("has no tensor fc.bias", "knows no classes")),
        (lambda state: state.pop("fc.weight"), ("fc/kernel has no tensor fc.weight",)),
        (lambda state: state.pop("layer3.0.bn1.weight"), ("has no tensor layer3.0.bn1.weight",)),
        (lambda state: state.update({"fc.bias": torch.tensor(1.0)}), ("tensor fc.bias is a number",)),
        (lambda state: state.update({"conv1.weight": torch.zeros(64, 3, 5, 5)}), ("conv1.weight is 64×3×5×5",)),
        (lambda state: state["conv1.weight"].fill_(torch.nan), ("tensor conv1.weight has NaN",)),
        (lambda state: state.update({"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int32)}), ("is int32",)),
        (lambda state: state.update({"\x1b[31m\nred" * 9: torch.zeros(1)}), ("\\x1b[31m\\nred",)),
    ],
)
def test_a_state_dict_that_does_not_fit_says_why(resnet18, photo, tmp_path, cli, change, words):
    path = with_other_tensors(resnet18, tmp_path, change)
    one_line_error(cli("predict", "--model", "resnet18", "--pretrained", path, photo), 1, *words)


def test_training_starts_from_a_state_dict_without_a_head(resnet18, tmp_path, cli):
    def change(state):
        for key in ("fc.weight", "fc.bias"):
            state.pop(key)

    path, run = with_other_tensors(resnet18, tmp_path, change), tmp_path / "run"
    small = ("--image-size", 32, "--epochs", 1, "--limit-train", 10, "--batch-size", 10, "--validation", 0)
    result = cli("train", "--model", "resnet18", "--dataset", "digits", "--pretrained", path, *small, "--run", run)
    assert result.exit_code == 0, result.output
    assert "100 tensors loaded" in result.stderr
