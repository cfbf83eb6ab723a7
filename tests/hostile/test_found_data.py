"""What the random damage of `test_fuzz` had found, each as a small file of its own: weights, arrays, data, recipes."""

import struct

import data_readers
import mutations
import numpy as np
import pytest
import readers
import torch

from helpers import refused
from kcnn.data.registry import load_dataset
from kcnn.errors import KcnnError
from kcnn.recipes.files import read_recipe
from kcnn.results.kept import read_predictions
from kcnn.results.prediction import read_array
from kcnn.starts.pretrained import read_state_dict
from kcnn.studies.page.build import to_html
from kcnn.studies.table import runs_report

# ---- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 12, 12, 1",  # tokenize has an error of its own
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000, 10000, 12, 1)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 12, 12, 1)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
        b"[" * 4000,
        b"",
    ],
    ids=len,
)
def test_a_damaged_header_of_an_array(tmp_path, header):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(3 * 144))
    refused(lambda: read_array(path), path, "without running code")


@pytest.mark.parametrize(
    "members",
    [[("images", b"text")], [("../images.npy", b"text")], [], [("a", b""), ("b", b"")], [("", b"")]],
    ids=repr,
)
def test_members_of_an_archive_that_are_no_arrays(tmp_path, members):
    path = tmp_path / "a.npz"
    path.write_bytes(mutations.rezip(members))
    refused(lambda: read_array(path), path)


def test_compressed_data_with_flipped_bits(tmp_path):
    path = data_readers.make_npz(tmp_path)
    content = path.read_bytes()
    for place in range(60, len(content) - 200, 23):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            read_array(path)
        except KcnnError as error:
            assert str(path) in str(error)  # noqa: PT017  # most are refused, some hit nothing that is read


# ---- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bits_in_a_state_dict(tmp_path, zipped):
    """torch compares no checksums; the older format has none."""
    path = tmp_path / "w.pth"
    numbers = torch.arange(4000.0)
    torch.save({"a": numbers}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    content[content.find(numbers.numpy().tobytes()) + 999] ^= 0x40
    path.write_bytes(content)
    if zipped:
        refused(lambda: read_state_dict(path), path, "damaged")
    else:
        assert (read_state_dict(path)["a"] != numbers.numpy()).sum() == 1


def test_a_state_dict_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(9.0)}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    np.testing.assert_array_equal(read_state_dict(tmp_path / "w.pth")["a"], np.arange(9.0))


def test_an_old_state_dict_whose_pickle_is_damaged(tmp_path):
    path = readers.make_old_pth(tmp_path)
    content = path.read_bytes()
    for place in range(0, 600, 7):
        path.write_bytes(content[:place] + content[place + 3 :])
        refused(lambda: readers.read_weights(path))


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")], ids=["sparse", "meta"])
def test_tensors_of_special_kinds(tmp_path, tensor):
    torch.save({"a": tensor}, tmp_path / "w.pth")
    refused(lambda: read_state_dict(tmp_path / "w.pth"), "w.pth")


# ---- data sets and recipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar100_coarse"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"caf\xe9 \xff", "no text"), (b"", "0 words"), (b"cat " * 9, "9 words"), (b"one two", "2 words")],
)
def test_names_of_cifar_that_are_damaged(tmp_path, name, content, words):
    files = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}
    path = data_readers.make_cifar(name, files.get(name, "coarse_label_names.txt"))(tmp_path)
    path.write_bytes(content)
    refused(lambda: load_dataset(name, str(tmp_path)), path, "damaged", words)


@pytest.mark.parametrize(
    "text",
    [
        *("epochs = " + "[" * 20_000, "a." * 5000 + "a = 1", "epochs = " + "9" * 5000, "epochs = 1979-05-27"),
        *("learning_rate = nan", "learning_rate = -inf", "learning_rate = 1" + "0" * 400, "seed = 'a\x07b'"),
        *("augment = {crop = inf}", "stages = [[1, 1e999]]", "milestones = [1e400]", "\x00", "[[epochs]]"),
        *("stages = [[nan, 32]]", "model_options = {a = {b = 1}}", "data_dir = 3", "classes = [['a'], 'b']"),
        *("model = ['lenet5']", "dataset = {}", "augment = {flip = [1]}", "augment = {flip = nan}"),
        *("augment = {crop = 1%s}" % ("0" * 400), "stages = [[20, 32, 1%s]]" % ("0" * 400), "epochs = 1" + "0" * 400),
        *("device = 3", "stages = [[1, 32, nan]]", "classes = ['a', 'a']", "pretrained = '\\u0000'"),
    ],
    ids=lambda text: text[:20],
)
def test_recipes_that_are_none(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    refused(lambda: read_recipe(path), path)


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", '{"versions": 3}', "\xff", ""], ids=ascii)
def test_a_manifest_of_another_shape_is_left_out_of_a_report(tmp_path, text):
    path = data_readers.make_run("manifest.json")(tmp_path)
    path.write_bytes(text.encode("latin1"))
    assert "lenet5" in to_html(runs_report([path.parent]))


@pytest.mark.parametrize("value", ["1e999", "NaN", "-Infinity", '"3"', "null", "[]"])
def test_a_result_whose_numbers_are_none(tmp_path, value):
    path = data_readers.make_run("result.json")(tmp_path)
    path.write_text(path.read_text().replace('"seconds": 1.5', f'"seconds": {value}'))
    refused(lambda: runs_report([path.parent]), path, "seconds")


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": [0, 1], "predicted": [0, 1]},
        {"labels": [0, 1], "predicted": [0, 1], "probabilities": [0.5, 0.5]},
        {"labels": [0, 9], "predicted": [0, 1], "probabilities": [[0.5, 0.5]] * 2},
        {"labels": [0, -1], "predicted": [0, 1], "probabilities": [[0.5, 0.5]] * 2},
        {"labels": [0, 1], "predicted": [0, 1], "probabilities": [[0.5, np.nan]] * 2},
        {"labels": ["a", "b"], "predicted": [0, 1], "probabilities": [[0.5, 0.5]] * 2},
        {"labels": [], "predicted": [], "probabilities": np.zeros((0, 2))},
    ],
)
def test_kept_predictions_that_do_not_fit_together(tmp_path, arrays):
    np.savez_compressed(tmp_path / "p.npz", **arrays)
    refused(lambda: read_predictions(tmp_path / "p.npz"), "p.npz is damaged")
