"""Every kind of picture on a real run; whose files may be drawn over; Grad-CAM against a hand-written gradient."""

import keras
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import one_line_error, random_images, write_pictures
from kcnn import plots
from kcnn.errors import KcnnError
from kcnn.plots.figure import may_redraw
from kcnn.results.gradcam import after_activation, feature_maps, heat_maps, last_map
from kcnn.results.subject import KINDS
from kcnn.run.history import History


def rows(count, **more):
    keys = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    return History([{"epoch": epoch, **dict.fromkeys(keys, 0.5 / epoch), **more} for epoch in range(1, count + 1)])


def small_model(head):
    """conv → batch norm → ReLU → `head` → 3 logits, on 9×9 images; weights fixed."""
    keras.utils.set_random_seed(0)
    images = keras.Input((9, 9, 2), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, name="first")(x)
    x = keras.layers.ReLU(name="rectified")(keras.layers.BatchNormalization()(x))
    return keras.Model(images, keras.layers.Dense(3)(head(x)), name="small")


def test_grad_cam_is_the_gradient_weighted_sum_of_the_maps():
    model = small_model(lambda x: keras.layers.Flatten()(keras.layers.MaxPooling2D()(x)))
    model.trainable = False  # the gradient must reach the maps all the same
    images, classes = random_images(4, 9, 9, 2), np.asarray([0, 2, 1, 2])
    found = heat_maps(model, images, classes)

    x = torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255
    kernel, bias = (torch.as_tensor(np.asarray(value)) for value in model.get_layer("first").get_weights())
    dense, offset = (torch.as_tensor(np.asarray(value)) for value in model.layers[-1].get_weights())
    maps = torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias)
    maps = (maps / np.sqrt(1 + 1e-3)).relu().requires_grad_()
    flat = torch.nn.functional.max_pool2d(maps, 2).permute(0, 2, 3, 1).flatten(1)
    logits = flat @ dense + offset
    (gradient,) = torch.autograd.grad(logits[torch.arange(4), torch.as_tensor(classes)].sum(), maps)
    expected = (maps * gradient.mean((2, 3), keepdim=True)).sum(1).relu()
    expected = (expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-12)).detach().numpy()
    assert found.shape == (4, 7, 7)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_maps_are_taken_after_the_activation():
    model = small_model(keras.layers.GlobalAveragePooling2D())
    convolution = model.get_layer("first")
    assert after_activation(model, convolution) is last_map(model) is model.get_layer("rectified").output
    ((name, values),) = feature_maps(model, random_images(1, 9, 9, 2)[0])
    assert (name, values.shape) == ("first", (7, 7, 4))
    assert values.min() == 0


def test_models_that_have_no_map_to_draw():
    flat = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(KcnnError, match="no 2-D convolution"):
        heat_maps(flat, random_images(1, 4, 4, 1), np.asarray([0]))
    layers = [keras.Input((3, 3, 1), dtype="uint8"), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]
    with pytest.raises(KcnnError, match="1×1"):
        heat_maps(keras.Sequential([*layers, keras.layers.Dense(2)]), random_images(1, 3, 3, 1), np.asarray([0]))


@pytest.fixture(scope="module")
def drawn(trained, tmp_path_factory):
    from click.testing import CliRunner

    from kcnn.cli import main

    folder = tmp_path_factory.mktemp("pictures") / "all"
    picture = write_pictures(tmp_path_factory.mktemp("own"), ("one",), 1) / "one" / "0.png"
    arguments = ["plot", str(trained[0]), "--kind", "all", "--image", str(picture), "-o", str(folder)]
    return folder, CliRunner().invoke(main, arguments)


def test_all_kinds_of_a_run(drawn):
    folder, result = drawn
    assert result.exit_code == 0, result.output
    assert {path.stem for path in folder.iterdir()} == set(KINDS)
    assert result.stdout.split() == [str(folder / f"{kind}.png") for kind in KINDS]
    for path in folder.iterdir():
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 150
        assert pixels.std() > 10, path  # something is drawn


def test_own_pictures_are_drawn_again_but_others_never(drawn, tmp_path, trained, cli):
    assert may_redraw(drawn[0] / "curves.png")
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", (5, 5)).save(folder / "curves.png")
    before = (folder / "curves.png").read_bytes()
    one_line_error(cli("plot", trained[0], "-o", folder), 2, "not drawn by kcnn", "-o")
    one_line_error(cli("plot", trained[0], "-o", folder / "curves.png"), 2, "already exists")
    assert (folder / "curves.png").read_bytes() == before
    assert cli("plot", trained[0], "-o", drawn[0]).exit_code == 0


def test_curves_of_several_runs_share_a_picture(trained, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    result = cli("plot", trained[0], trained[0], "-o", "both.svg")
    assert result.stdout == "both.svg\n"
    assert "<svg" in (tmp_path / "both.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "confuson"), "Did you mean 'confusion'"),
        (("--kind", "confusion,classes", "-o", "x.png"), "one name for 2 pictures"),
        (("-o", "x.jpg"), ".png, .svg, .pdf"),
        (("--kind", "gradcam", "--class", "eight"), "unknown class"),
    ],
)
def test_wrong_arguments_of_plot(trained, cli, arguments, words):
    one_line_error(cli("plot", trained[0], *arguments), 2, words)


def test_a_run_without_an_epoch(tmp_path, cli):
    (tmp_path / "recipe.toml").write_text("")
    one_line_error(cli("plot", tmp_path), 1, "no finished epoch")


def test_curves_need_no_keras(trained, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from kcnn.cli import main\n"
        "try: main()\n"
        "except SystemExit: sys.exit('keras' in sys.modules or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "plot", str(trained[0]), "-o", str(tmp_path / "x.png")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (tmp_path / "x.png").exists()


def size(path):
    return Image.open(path).size


@pytest.mark.parametrize("count", [2, 130])
def test_sizes_follow_the_number_of_classes(tmp_path, count):
    names = [f"a class with a long name {index}" for index in range(count)]
    plots.confusion(np.eye(count, dtype=int) * 50, names, tmp_path / "confusion.png")
    per_class = [{"class": name, "precision": 0.5, "recall": 0.7, "f1": 0.6, "images": 5} for name in names]
    plots.classes(per_class, tmp_path / "classes.png")
    for kind in ("confusion", "classes"):
        assert max(size(tmp_path / f"{kind}.png")) < 4000


def test_curves_of_one_epoch_and_without_validation(tmp_path):
    alone = History([{"epoch": 1, "loss": 1.0, "accuracy": 0.1, "learning_rate": 0.1}])
    plots.curves({"alone": alone, "other": rows(3)}, tmp_path / "curves.png")
    assert size(tmp_path / "curves.png")[0] > 1000
