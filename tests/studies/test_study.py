"""Reading a study: what it becomes, and what is refused, all at once and in one line."""

import pytest

from kcnn.errors import KcnnError, UsageError
from kcnn.recipes.files import find_recipe
from kcnn.studies.study import OWN, REPORTED, find_study, read_study


def read(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    return read_study(tmp_path / "mine.toml")


def test_rows_are_recipes(small):
    study = find_study(str(small))
    plain, moved, harder, on = study.rows.values()
    assert (study.name, study.title, study.has_own) == ("small", "Small <b>study</b>", True)
    assert (plain.reported, plain.source, plain.seeds) == (0.25, "row 1", (0, 1))
    assert plain.recipes[REPORTED].epochs == 4
    assert moved.recipes[REPORTED] == plain.recipes[REPORTED].replace(augment={"shift": 1})
    assert moved.place == "i-moved-i"
    assert (harder.recipes, harder.augment, study.settings(harder)) == ({}, {"rotation": 90.0}, (REPORTED, OWN))
    assert (on.seeds, on.recipes[REPORTED].weights) == ((0,), "row plain")


def test_kcnns_own_recipe_is_the_shipped_one_with_changes(small):
    own = find_study(str(small)).rows["plain"].recipes[OWN]
    shipped = find_recipe("", "lenet5", "digits")[1]
    assert own == shipped.replace(epochs=2, augment={}, learning_rate=0.1)


def test_own_keeps_what_is_learned_and_takes_a_named_recipe(tmp_path):
    study = read(
        tmp_path,
        """
        base = "resnet18-cifar10"
        own = {epochs = 7}
        [[row]]
        name = "a"
        dataset = "cifar100"
        image_size = 64
        model_options = {stem = "imagenet"}
        own = {recipe = "vgg16-cifar10", augment = {}}
        [[row]]
        name = "b"
        recipe = "lenet5-mnist"
        """,
    )
    own = study.rows["a"].recipes[OWN]
    assert (own.model, own.dataset, own.image_size, own.model_options) == (
        *("resnet18", "cifar100", 64),
        {"stem": "imagenet"},
    )
    assert (own.epochs, own.augment, own.learning_rate) == (7, {}, find_recipe("vgg16-cifar10")[1].learning_rate)
    assert study.rows["b"].recipes == {REPORTED: find_recipe("lenet5-mnist")[1]}


def test_fewer_epochs_shorten_the_warm_up_as_in_train(tmp_path):
    study = read(tmp_path, 'base = "resnet18-cifar10"\n[[row]]\nname = "a"\nepochs = 4\nown = {epochs = 6}')
    assert [recipe.warmup_epochs for recipe in study.rows["a"].recipes.values()] == [2, 3]


def test_seeds_are_a_number_or_a_list(tmp_path):
    study = read(tmp_path, 'seeds = [3, 5]\n[[row]]\nname = "a"\n[[row]]\nname = "b"\nseeds = 3')
    assert [row.seeds for row in study.rows.values()] == [(3, 5), (0, 1, 2)]


ROW = '[[row]]\nname = "a"\n'
MISTAKES = {
    "titel = 'x'\n" + ROW: "unknown key of a study 'titel'. Did you mean 'title'?",
    "title = 3\n" + ROW: "title must be text; received 3.",
    "title = 'no rows'": "a study has at least one [[row]].",
    "row = 3": "a study has at least one [[row]].",
    ROW + "epoch = 3": "row 'a': unknown key of a row 'epoch'. Did you mean 'epochs'?",
    ROW + "epochs = 0": "row 'a': epochs must be from 1",
    ROW + "seed = 1": "row 'a': seed is set by seeds",
    ROW + ROW: "the name 'a' is used twice.",
    ROW + '[[row]]\nname = "A"': "the names 'a' and 'A' would share the folder a.",
    ROW + '[[row]]\nname = "a/"': "the names 'a' and 'a/' would share the folder a.",
    "[[row]]\nepochs = 3": "row 1: name must be words",
    '[[row]]\nname = "../.."': "name must be words, with a letter or digit",
    '[[row]]\nname = "a\\nb"': "name must be words",
    '[[row]]\nname = "Report.html"': "the name 'Report.html' would lie on one of the study's own files",
    "[[row]]\nname = 3": "row 3: name must be text; received 3.",
    ROW + "reported = 75.56": "reported is an accuracy from 0 to 1, such as 0.7556 for 75.56 %.",
    ROW + "reported = true": "reported must be an accuracy from 0 to 1, or words; received True.",
    ROW + "reported = nan": "reported must be an accuracy from 0 to 1, or words; received nan.",
    ROW + "reported = [0.5]": "reported must be an accuracy from 0 to 1, or words; received [0.5].",
    ROW + "reported = ''": "reported must be an accuracy from 0 to 1, or words; received ''.",
    ROW + "seeds = 0": "seeds must be how many, or a list of different whole numbers; received 0.",
    "seeds = [1, 1]\n" + ROW: "seeds must be how many",
    "seeds = true\n" + ROW: "seeds must be how many",
    "base = 'lenet'\n" + ROW: "base: unknown recipe 'lenet'. Did you mean",
    "base = 3\n" + ROW: "base: it must be a shipped recipe's name or a table",
    "base = {epoch = 3}\n" + ROW: "base: unknown key of a recipe 'epoch'. Did you mean 'epochs'?",
    "base = {seed = 3}\n" + ROW: "base: seed is set by seeds",
    ROW + "recipe = ['x']": "row 'a': unknown recipe",
    ROW + "own = 3": "row 'a': own must be a table of keys; received 3.",
    ROW + "own = {epoch = 3}": "row 'a': own: unknown recipe key 'epoch'. Did you mean 'epochs'?",
    ROW + "own = {seed = 3}": "row 'a': own: seed is set by seeds",
    ROW + "own = {recipe = 'x'}": "row 'a': own: unknown recipe 'x'.",
    ROW + "against = 'b'": "row 'a': unknown row in against 'b'.",
    ROW + "weights_of = 'a'": "row 'a': unknown row above in weights_of 'a'.",
    ROW + '[[row]]\nname = "b"\ntest_of = "x"': "row 'b': unknown row above in test_of 'x'.",
    ROW + '[[row]]\nname = "b"\ntest_of = "a"': "row 'b': test must say what changes",
    ROW
    + '[[row]]\nname = "b"\ntest_of = "a"\nepochs = 3': "it tests the networks of a and trains none: leave out epochs.",
    ROW + '[[row]]\nname = "b"\ntest_of = "a"\ntest = {tta = "turn"}': "unknown view 'turn'.",
    ROW + '[[row]]\nname = "b"\ntest_of = "a"\ntest = {augment = {flop = 1}}': "Did you mean 'flip'?",
    ROW + '[[row]]\nname = "b"\ntest_of = "a"\ntest = {augmnt = 1}': "unknown key of test 'augmnt'.",
    ROW + '[[row]]\nname = "b"\ntest_of = "a"\nweights_of = "a"': "weights_of and test_of do not go together",
    ROW + "test = {tta = 'flip'}": "row 'a': test belongs to a row with test_of.",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_told(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert MISTAKES[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once_and_a_shared_one_once(tmp_path):
    rows = "".join(f'[[row]]\nname = "{name}"\n' for name in "abcde")
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "base = {epochs = 0}\n" + rows + 'reported = 3\n[[row]]\nname = "f"\nmodel = "lenet"')
    text = str(caught.value)
    assert "row 'a', row 'b', row 'c', 1 more: epochs must be from 1" in text
    assert "row 'e': reported is an accuracy" in text
    assert "row 'f': unknown model 'lenet'. Did you mean 'lenet5'? Allowed" in text


@pytest.mark.parametrize("content", [b"= 3", b"\xff", b"a = " + b"[" * 5000])
def test_what_is_no_toml_is_told(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(KcnnError, match="is not a TOML file"):
        find_study(str(tmp_path / "bad.toml"))


def test_unknown_studies(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'report1'"):
        find_study("reprt1")
    with pytest.raises(KcnnError, match="There is no study file"):
        find_study(str(tmp_path / "none.toml"))
