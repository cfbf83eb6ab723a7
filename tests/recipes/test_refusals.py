"""What cannot work is refused in one line before a run directory exists."""

import pytest

from helpers import one_line_error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--limit-train", 10), ("validation = 0.1 keeps none of the 10 images", "--validation 0")),
        (("--limit-train", 10, "--validation", 0.9), ("leaves none of 10 images to train on",)),
        (
            ("--limit-train", 100, "--batch-size", 32, "--set", "gradient_accumulation_steps=9"),
            ("at most the 6 steps", "received 9"),
        ),
        (("--limit-train", 100, "--set", "drop_last=true", "--batch-size", 128), ("no batch of 128 from 90 images",)),
        (("--set", "stages=[[1,32],[1,1e400]]"), ("stages, [1, inf]", "batch_size")),
        (("--set", "stages=[[inf,32]]"), ("stages, [inf, 32]", "epochs must be")),
        (("--set", "stages=[[1,32],[true,32]]"), ("stages, [True, 32]", "epochs must be a whole number")),
        (("--set", "stages=[[1,32],[1,32,1e9]]"), ("learning_rate must be from", "received 1000000000.0")),
        (("--set", "stages=[[1,32],[1]]"), ("[epochs, batch_size]", "received [1]")),
        (("--set", "data_dir=2024", "--set", "weights=3"), ("data_dir must be a word; received 2024", "weights must")),
        (("--set", "pretrained=3"), ("pretrained must be a word; received 3",)),
        (("--precision", "bfloat16", "--optimizer", "nadam"), ("nadam divides by 0", "choose mixed_bfloat16")),
        (
            ("--precision", "bfloat16", "--set", "clip_norm=1", "--backend", "tensorflow"),
            ("clip_norm does not work on tensorflow", "choose mixed_bfloat16"),
        ),
    ],
)
def test_train(cli, tmp_path, options, words):
    run = tmp_path / "run"
    one_line_error(cli("train", "--epochs", 2, *options, "--run", run), 2, *words)
    assert not run.exists()


def test_each_part_of_a_run_has_its_first_update(cli, trained, tmp_path):
    """The head alone, and then all of it, have an optimizer each."""
    start = ("--weights", trained[0], "--freeze-epochs", 1, "--epochs", 2, "--limit-train", 96, "--batch-size", 32)
    outcome = cli("train", *start, "--set", "gradient_accumulation_steps=4", "--run", tmp_path / "run")
    one_line_error(outcome, 2, "at most the 3 steps")


def test_the_folder_of_an_unknown_user(cli, tmp_path):
    one_line_error(cli("train", "--dataset", "folder", "--data-dir", "~nobody-here/x"), 1, "~nobody-here/x")


def test_every_kind_of_picture_that_does_not_exist_is_named(cli, trained):
    one_line_error(cli("plot", trained[0], "--kind", "curvs,bars"), 2, "Did you mean 'curves'", "'bars'")


def test_lr_find_without_an_update(cli, tmp_path):
    options = ("--steps", 30, "--set", "gradient_accumulation_steps=31", "-o", tmp_path / "a.png")
    one_line_error(cli("lr-find", *options), 2, "at most the 30 steps")


@pytest.mark.parametrize("bounds", [("--high", "inf"), ("--low", 1, "--high", 0.1), ("--low", 0), ("--low", "nan")])
def test_lr_find(cli, tmp_path, bounds):
    one_line_error(cli("lr-find", *bounds, "-o", tmp_path / "a.png"), 2, "rising from above 0 to 1000")
