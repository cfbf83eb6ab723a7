"""The directory of a study: its own, another one's, or of a study that has changed; nothing in it is written over."""

import pytest

from helpers import one_line_error
from kcnn.errors import KcnnError
from kcnn.studies.folder import begin, open_folder
from kcnn.studies.study import read_study, shipped_studies


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(cli, folder, small, *words):
    before = contents(folder)
    one_line_error(cli("study", "run", small, "-o", folder), 2, folder, *words)
    assert contents(folder) == before


def test_another_studys_directory_is_refused(small, cli, tmp_path):
    begin(read_study(small), tmp_path / "out")
    small.write_text(small.read_text().replace('"Small <b>study</b>"', '"Other"'))
    refused(cli, tmp_path / "out", small, "is the directory of another study, 'Small <b>study</b>'")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs = 4", "epochs = 5", "base"),
        ("reported = 0.25", "reported = 0.26", "row 'plain'"),
        ('name = "on"', 'name = "later"', "row 'on', row 'later'"),
        ("seeds = 2", "seeds = 3", "seeds"),
    ],
)
def test_a_changed_study_is_refused(small, cli, tmp_path, old, new, words):
    begin(read_study(small), tmp_path / "out")
    small.write_text(small.read_text().replace(old, new, 1))
    refused(cli, tmp_path / "out", small, "The study has changed since", words, "kcnn study run", "study.toml")


def test_comments_are_no_change(small, tmp_path):
    begin(read_study(small), tmp_path / "out")
    before = contents(tmp_path / "out")
    small.write_text("# a remark\n" + small.read_text())
    begin(read_study(small), tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_going_on_with_the_copy(small, tmp_path):
    begin(read_study(small), tmp_path / "out")
    begin(read_study(tmp_path / "out/study.toml"), tmp_path / "out")


def test_a_directory_of_something_else_is_refused(small, cli, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    refused(cli, tmp_path / "out", small, "is no study's directory")
    (tmp_path / "file").write_text("x")
    one_line_error(cli("study", "run", small, "-o", tmp_path / "file"), 2, "is no study's directory")


def test_a_damaged_copy_is_told(small, cli, tmp_path):
    begin(read_study(small), tmp_path / "out")
    (tmp_path / "out/study.toml").write_text("title = ")
    one_line_error(cli("study", "run", small, "-o", tmp_path / "out"), 1, "study.toml is not a TOML file")
    one_line_error(cli("study", "status", tmp_path / "out"), 1, "study.toml is not a TOML file")


def test_a_shipped_study_keeps_its_name(tmp_path, small):
    begin(read_study(shipped_studies()["mnist"]), tmp_path / "a")
    assert open_folder(tmp_path / "a").name == "mnist"
    begin(read_study(small), tmp_path / "b")
    assert open_folder(tmp_path / "b").name == str(tmp_path / "b/study.toml")


def test_what_is_no_study_cannot_be_looked_at(cli, tmp_path):
    with pytest.raises(KcnnError, match="is not the directory of a study"):
        open_folder(tmp_path)
    for command in ("status", "report"):
        one_line_error(cli("study", command, tmp_path / "none"), 1, "is not the directory of a study")
