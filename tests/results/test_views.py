"""Test-time augmentation: the views, their average, and `--tta` of evaluate and predict."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers import one_line_error
from kcnn.data.registry import load_dataset
from kcnn.errors import UsageError
from kcnn.results.logits import predict_logits, predict_views, softmax
from kcnn.results.views import image_views, parse_views, six_views


def test_flip_has_two_views_and_shift_five_and_both_ten():
    images = np.random.default_rng(0).integers(1, 256, (2, 8, 6, 3), np.uint8)
    as_it_is, mirrored = image_views(images, ["flip"])
    assert (as_it_is == images).all()
    assert (mirrored == images[:, :, ::-1]).all()
    _, down, up, right, left = image_views(images, ["shift"])
    assert (down[:, 1:] == images[:, :-1]).all()
    assert (up[:, :-1] == images[:, 1:]).all()
    assert (right[:, :, 1:] == images[:, :, :-1]).all()
    assert (left[:, :, :-1] == images[:, :, 1:]).all()
    assert not any(edge.any() for edge in (down[:, 0], up[:, -1], right[:, :, 0], left[:, :, -1]))
    both = list(image_views(images, ["flip", "shift"]))
    assert len(both) == 10
    assert len({view.tobytes() for view in both}) == 10
    assert all(view.flags.c_contiguous for view in both)


def test_a_larger_image_is_shifted_by_more():
    images = np.ones((1, 64, 96, 1), np.uint8)
    assert [int((view == 0).any(2).sum()) for view in image_views(images, ["shift"])][1:3] == [2, 2]


class Linear:
    """Logits of 3 classes from the mean of three columns."""

    def predict(self, images, **options):
        return images[:, :, :3, 0].mean(1).astype(np.float32) / 40


def test_probabilities_are_averaged():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 1), np.uint8)
    model = Linear()
    expected = np.mean(
        [softmax(predict_logits(model, view)) for view in image_views(images, ["flip", "shift"])], axis=0
    )
    found = predict_views(model, images, ["flip", "shift"])
    np.testing.assert_allclose(softmax(found), expected, rtol=1e-5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(predict_views(model, images), predict_logits(model, images))


def test_six_views_are_mirrored_and_moved_with_reflected_borders():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    places = [padded[:, 1:-1, 1:-1], padded[:, :-2, :-2], padded[:, 2:, 2:]]
    expected = [view for place in places for view in (place, place[:, :, ::-1])]
    weights, views = zip(*six_views(images), strict=True)
    assert weights == (0.25, 0.25, 0.125, 0.125, 0.125, 0.125)
    for view, right in zip(views, expected, strict=True):
        np.testing.assert_array_equal(view, right)


def test_six_average_logits_and_a_quarter_only_the_least_certain():
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 1), np.uint8)
    model = Linear()
    six = sum(weight * predict_logits(model, view) for weight, view in six_views(images))
    np.testing.assert_allclose(predict_views(model, images, ["six"]), six, rtol=1e-6)
    plain, quarter = predict_logits(model, images), predict_views(model, images, ["six-quarter"])
    changed = np.argsort(softmax(plain).max(1))[:3]  # of ten, rounded up
    np.testing.assert_allclose(quarter[changed], six[changed], rtol=1e-6)
    rest = np.setdiff1d(np.arange(10), changed)
    np.testing.assert_array_equal(quarter[rest], plain[rest])
    assert (quarter[changed] != plain[changed]).any()


def test_names_of_views():
    assert parse_views("") == ()
    assert parse_views("shift, flip,shift") == ("shift", "flip")
    assert parse_views("six-quarter") == ("six-quarter",)
    with pytest.raises(UsageError, match="the view six stands alone; received 'flip,six'"):
        parse_views("flip,six")
    with pytest.raises(UsageError, match=r"'flop'.*Did you mean 'flip'.*'zoom'"):
        parse_views("flop,zoom")


def test_evaluate_and_predict_take_views(cli, trained, tmp_path):
    run, _ = trained
    plain, averaged = (
        json.loads(cli("evaluate", run, "--json", *options).stdout) for options in ((), ("--tta", "shift"))
    )
    assert plain["test"]["loss"] != averaged["test"]["loss"]
    assert averaged["test"]["accuracy"] > 0.3
    Image.fromarray(load_dataset("digits").test.images[0, :, :, 0]).save(tmp_path / "digit.png")
    rows = [
        json.loads(cli("predict", run, tmp_path / "digit.png", "--top", 10, "--json", *options).stdout)
        for options in ((), ("--tta", "flip,shift"))
    ]
    assert rows[0] != rows[1]
    assert abs(sum(best["probability"] for best in rows[1][0]["top"]) - 1) < 1e-4


@pytest.mark.parametrize("command", [("evaluate",), ("predict", "x.png")])
def test_an_unknown_view_is_told_in_one_line(cli, trained, command):
    name, *paths = command
    one_line_error(cli(name, trained[0], *paths, "--tta", "flips"), 2, "view", "Did you mean 'flip'")
