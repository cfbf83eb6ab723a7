"""A file or folder that the user names is one command's own from its first moment, and free again if that fails."""

import pytest

import kcnn.machine.files
from helpers import one_line_error, write_pictures

COMMANDS = {
    "predict": ("predict", "RUN", "PICTURES", "--csv", "OUT.csv"),
    "evaluate": ("evaluate", "RUN", "--csv", "OUT.csv"),
    "plot": ("plot", "RUN", "-o", "OUT.png"),
    "compare": ("compare", "RUN", "OTHER", "-o", "OUT.svg"),
    "data": ("data", "digits", "--augment", "flip", "-o", "OUT.png"),
    "lr-find": ("lr-find", "--low", "0.001", "--steps", "40", "-o", "OUT.png"),
    "schedule": ("schedule", "lenet5-digits", "-o", "OUT.pdf"),
    "export": ("export", "RUN", "-o", "OUT.keras"),
    "torch": ("export", "RUN", "--format", "torch", "-o", "OUT.pt2"),
}


@pytest.fixture
def words(trained, tmp_path):
    """The words of a command with real paths, and the file that it names."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("recipe.toml", "log.csv"):
        (other / name).write_bytes((trained[0] / name).read_bytes())
    places = {"RUN": trained[0], "OTHER": other, "PICTURES": write_pictures(tmp_path / "pictures", count=1)}

    def of(command):
        made = [str(places.get(word, word)).replace("OUT", str(tmp_path / "deep" / "out")) for word in command]
        return made, next(word for word in made if "deep" in word)

    return of


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_second_process_is_refused_while_the_first_one_works(cli, words, monkeypatch, command):
    """The second one starts in the moment before the first one's file gets its name."""
    arguments, file = words(command)
    flush, second = kcnn.machine.files._flush, []

    def late(path):
        flush(path)
        if not second:
            second.append(None)
            second.append(cli(*arguments))

    monkeypatch.setattr("kcnn.machine.files._flush", late)
    outcome = cli(*arguments)
    assert outcome.exit_code == 0, outcome.output
    one_line_error(second[1], 2, file, "already exists")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_fails_leaves_the_name_free(cli, words, tmp_path, monkeypatch, command):
    def full(path):
        raise OSError(28, "No space left on device", str(path))

    arguments, _ = words(command)
    with monkeypatch.context() as patch:
        patch.setattr("kcnn.machine.files._flush", full)
        one_line_error(cli(*arguments), 1, "No space left")
    assert list((tmp_path / "deep").iterdir()) == []
    assert cli(*arguments).exit_code == 0


def test_a_file_that_appears_meanwhile_is_not_written_over(cli, words, tmp_path, monkeypatch):
    """Between the check of the arguments and the export."""
    arguments, file = words(COMMANDS["export"])

    def load(*_):
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "out.keras").write_text("mine")
        return original(*_)

    from kcnn.cli import export

    original = export.open_source
    monkeypatch.setattr(export, "open_source", load)
    one_line_error(cli(*arguments), 2, file, "already exists")
    assert (tmp_path / "deep" / "out.keras").read_text() == "mine"


def test_the_folder_of_a_comparison_is_claimed(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kcnn.compare.backends.compare_backends", lambda *_: {"backends": {}, "agreement": {}})
    monkeypatch.setattr("kcnn.cli.compare._print_backends", lambda report: None)
    for _ in range(2):
        cli("compare", "--backends", "torch")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "compare-lenet5-digits",
        "compare-lenet5-digits-2",
    ]
    (tmp_path / "out").mkdir()
    cli("compare", "--backends", "torch", "-o", "out")
    assert "epochs = 3" in (tmp_path / "out" / "compare.toml").read_text()
    one_line_error(cli("compare", "--backends", "torch", "-o", "out"), 2, "out already exists and is not empty", "-o")
