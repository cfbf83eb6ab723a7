"""The result of a run: read if it is whole and about the epochs of the log, else one sentence."""

import json

import pytest

from kcnn.errors import KcnnError
from kcnn.run.directory import RunDir
from kcnn.run.result import read_result

GOOD = {
    **{"test": {"accuracy": 0.5, "interval": [0.25, 0.75], "top5": 1.0, "loss": 0.1}, "validation": None},
    **{"best_epoch": 2, "epochs": 3, "seconds": 1, "images_per_second": 10.5, "parameters": 7, "device": "cpu"},
}


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path)


def test_a_good_result(run):
    assert read_result(run, 3) == {}
    run.result.write_text(json.dumps(GOOD))
    assert read_result(run, 3) == GOOD
    old = {**GOOD, "test": {"accuracy": 0.5, "top5": 1.0, "loss": 0.1}}
    run.result.write_text(json.dumps(old))
    assert read_result(run, 3) == old


def test_a_result_of_other_epochs_is_none(run):
    """The run went on after it, or back."""
    run.result.write_text(json.dumps(GOOD))
    assert read_result(run, 4) == read_result(run, 2) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no proper test"),
        ("null", "has no proper test"),
        (json.dumps({**GOOD, "test": 0.5}), "has no proper test"),
        (json.dumps({**GOOD, "epochs": "3"}), "has no proper epochs"),
        (json.dumps({**GOOD, "test": {}}), "has no proper test accuracy"),
        (json.dumps({**GOOD, "test": {"accuracy": "high"}}), "has no proper test accuracy"),
        (json.dumps({**GOOD, "test": {"accuracy": 0.5, "interval": [0.25]}}), "has no proper test accuracy"),
        (json.dumps({**GOOD, "test": {"accuracy": 0.5, "interval": 3}}), "has no proper test accuracy"),
    ],
)
def test_a_damaged_result_is_one_sentence(run, text, words):
    run.result.write_text(text)
    with pytest.raises(KcnnError, match=f"result.json {words}.*train --resume"):
        read_result(run, 3)


def test_bytes_that_are_no_text(run):
    run.result.write_bytes(b"\xff\xfe{")
    with pytest.raises(KcnnError, match=r"result.json is not JSON"):
        read_result(run, 3)
