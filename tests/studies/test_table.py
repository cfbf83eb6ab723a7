"""The numbers of a report against NumPy's and scipy's, and its Markdown, CSV and JSON."""

import csv
import json
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from kcnn.results.kept import Predictions, read_predictions
from kcnn.studies.paired import compare_paired
from kcnn.studies.study import read_study
from kcnn.studies.table import study_report
from kcnn.studies.words import duration


def predictions(labels, predicted):
    return Predictions(np.asarray(labels), np.asarray(predicted), np.zeros((len(labels), 3), np.float32))


def test_one_seed_is_mcnemars_exact_test():
    labels = np.zeros(40, int)
    ours, theirs = (np.ones(40, int) for _ in range(2))
    ours[:25], theirs[10:22] = 0, 0  # 13 images that we alone have right, and none that they alone have
    theirs[30:33] = 0  # but these three
    found = compare_paired("base", [predictions(labels, ours)], [predictions(labels, theirs)])
    assert (found.better, found.worse, found.seeds) == (13, 3, 1)
    assert found.p == pytest.approx(binomtest(3, 16).pvalue)


def test_seeds_vote_image_by_image():
    labels = [0, 0, 0, 0]
    ours = [predictions(labels, [0, 0, 1, 1]), predictions(labels, [0, 1, 1, 0])]
    theirs = [predictions(labels, [1, 1, 1, 0]), predictions(labels, [1, 0, 1, 0])]
    found = compare_paired("base", ours, theirs)
    assert (found.better, found.worse, found.seeds) == (1, 1, 2)  # image 0; image 3; the others are even
    assert found.p == 1


def test_rows_that_share_no_images_are_not_compared():
    assert compare_paired("base", [predictions([0, 1], [0, 1])], [predictions([1, 0], [0, 1])]) is None
    assert compare_paired("base", [predictions([0, 1], [0, 1])], [predictions([1, 0, 0], [0, 1, 0])]) is None
    assert compare_paired("base", [], []) is None


def test_equal_networks_do_not_differ():
    one = predictions([0, 1], [0, 0])
    assert compare_paired("base", [one], [one]).p == 1


@pytest.fixture(scope="module")
def report(done):
    return study_report(read_study(done / "study.toml"), done)


def line(report, name, settings="reported"):
    return next(line for line in report.lines if (line.row.name, line.settings) == (name, settings))


def test_numbers_are_those_of_the_runs(report, done):
    results = [json.loads((done / f"plain/seed{seed}/result.json").read_text()) for seed in (0, 1)]
    accuracies = [result["test"]["accuracy"] for result in results]
    plain = line(report, "plain")
    assert plain.mean() == pytest.approx(np.mean(accuracies))
    assert plain.std == pytest.approx(np.std(accuracies, ddof=1))
    assert plain.difference == pytest.approx(np.mean(accuracies) - 0.25)
    assert plain.mean("pflop") == results[0]["pflop"]
    assert plain.mean("seconds") == pytest.approx(np.mean([result["seconds"] for result in results]))
    assert plain.mean("epochs") == 4
    assert line(report, "<i>moved</i>").difference is None
    assert line(report, "on").std is None


def test_a_row_of_tests_scores_the_other_rows_networks(report, done):
    found = read_predictions(done / "plain-harder-test/seed1/predictions.npz")
    harder = line(report, "plain, harder test")
    assert harder.outcomes[1].accuracy == (found.labels == found.predicted).mean()
    assert harder.mean() < line(report, "plain").mean()
    assert harder.command == f"kcnn evaluate {done}/plain/seed0 --augment rotation=90"


def test_each_row_is_tested_against_the_first(report, done):
    assert line(report, "plain").paired is None
    ours, theirs = ([read_predictions(done / place / f"seed{seed}/predictions.npz") for seed in (0, 1)]
                    for place in ("i-moved-i", "plain"))  # fmt: skip
    assert line(report, "<i>moved</i>").paired == compare_paired("plain", ours, theirs)
    assert line(report, "on").paired.seeds == 1  # it has one seed only


def test_failures_are_in_the_table(report):
    assert line(report, "broken").outcomes == []
    assert "as large as the images" in line(report, "broken").failures[0]


def test_files(done, cli, report):
    outcome = cli("study", "report", done)
    assert outcome.exit_code == 0, outcome.output
    for ending in ("md", "csv", "json", "html"):
        assert str(done / f"report.{ending}") in outcome.stderr
    text = (done / "report.md").read_text()
    assert "# Small &lt;b&gt;study&lt;/b&gt;" in text
    assert (
        "| row | reported | at the reported settings | difference | kcnn's own recipe | difference | source |" in text
    )
    assert "&lt;i&gt;moved&lt;/i&gt; | about \\| half |" in text
    assert f"| plain | 0.2500 | {line(report, 'plain').mean():.4f} ± " in text
    assert "<" not in text
    rows = list(csv.DictReader((done / "report.csv").open()))
    assert [(row["row"], row["settings"]) for row in rows] == [(one.row.name, one.settings) for one in report.lines]
    assert float(rows[0]["accuracy"]) == line(report, "plain").mean()
    assert (rows[0]["n"], rows[0]["epochs_scale"], rows[0]["reported"]) == ("2", "1.0", "0.25")
    found = json.loads((done / "report.json").read_text())
    assert found["rows"][0]["accuracies"].keys() == {"0", "1"}
    assert json.loads(cli("study", "report", done, "--json").stdout) == found
    assert "keras" in found["machines"][0]


def test_damaged_files_are_the_failure_of_their_row(done, tmp_path, cli):
    shutil.copytree(done, tmp_path / "out")
    (tmp_path / "out/plain/seed0/result.json").write_text("{")
    (tmp_path / "out/plain/seed1/predictions.npz").write_text("x")
    (tmp_path / "out/i-moved-i/seed0/recipe.toml").write_text("= 3")
    report = study_report(read_study(done / "study.toml"), tmp_path / "out")
    assert [text.split(" is ")[-1][:7] for text in line(report, "plain").failures] == ["not JSO", "damaged"]
    assert line(report, "plain").mean() is None
    assert len(line(report, "<i>moved</i>").outcomes) == 1
    assert cli("study", "report", tmp_path / "out").exit_code == 0


def test_status(done, cli):
    outcome = cli("study", "status", done)
    lines = [" ".join(text.split()) for text in outcome.stdout.splitlines()]
    assert "plain reported 0 finished 4/4" in lines
    assert "plain own 1 finished 2/2" in lines
    assert any(text.startswith("broken reported 0 not begun 0/4 augmentation crop=500") for text in lines)
    assert lines[-1] == "11 of 13 runs are finished."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (3.4, "3 s"), (89.6, "90 s"), (100, "2 min"), (3599, "1 h 00 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
