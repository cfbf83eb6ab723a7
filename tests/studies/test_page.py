"""The page: read back in a real browser, without a network, with names that are full of markup."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner

from helpers import one_line_error, write_pictures
from kcnn.cli import main
from kcnn.data.dataset import Split
from kcnn.results.kept import Predictions
from kcnn.run.directory import RunDir
from kcnn.run.history import read_history
from kcnn.studies.page.build import to_html
from kcnn.studies.page.drawing import charts
from kcnn.studies.page.pictures import confusion, mistakes
from kcnn.studies.study import read_study
from kcnn.studies.table import runs_report, study_report
from kcnn.studies.words import table

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NASTY = ("<script>document.title='hacked'</script>", "a&b \"quoted\" 'too'", "</style><img src=x>")


class Elements(HTMLParser):
    """All (tag, attributes), and the text of each cell of the tables by their ids."""

    def __init__(self, text):
        super().__init__()
        self.found, self.tables, self.table, self.cell = [], {}, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.found.append((tag, attributes))
        if tag == "table":
            self.table = self.tables.setdefault(attributes.get("id", ""), [])
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
            self.cell = True
        elif tag == "span" and attributes.get("class") == "note":
            self.cell = False

    def handle_data(self, data):
        if self.table and self.table[-1] and self.cell:
            self.table[-1][-1] += data.strip("\n")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None


def browse(path, folder):
    """The page as a browser has it after its scripts, and the hosts that were asked for something."""
    log, profile = folder / "net.json", folder / "profile"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={profile}", f"--log-net-log={log}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    urls = [urlsplit(url) for url in re.findall(r'"url":"([a-z]+:[^"]*)"', log.read_text(errors="replace"))]
    return done.stdout, {
        url.hostname or url.path for url in urls if url.scheme in ("http", "https", "file", "ws", "ftp")
    }


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Opens a page: its text after the scripts, and what it asked for beyond what the browser itself does."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "asks.html").write_text('<img src="http://asked.invalid/x.png">')
    _, asked = browse(folder / "asks.html", folder)
    assert "asked.invalid" in asked  # it would be seen
    return lambda path, place: (lambda text, found: (text, found - asked))(*browse(path, place))


@pytest.fixture(scope="module")
def report(done):
    return study_report(read_study(done / "study.toml"), done)


def test_a_browser_reads_the_table_back(report, opened, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(to_html(report), encoding="utf-8")
    dom, asked = opened(path, tmp_path)
    assert asked == set()
    titles, cells = table(report)
    elements = Elements(dom)
    assert elements.tables["results"] == [titles, *cells]
    assert [line[0] for line in elements.tables["costs"][1:]] == [one.row.name for one in report.lines if one.outcomes]
    # The script has run: it shows the buttons that would do nothing without it.
    buttons = [attributes for tag, attributes in elements.found if tag == "button"]
    assert len(buttons) == len(report.lines)
    assert not any("hidden" in attributes for attributes in buttons)


def test_nothing_is_fetched(report):
    text = to_html(report)
    for tag, attributes in Elements(text).found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(key, "#").startswith(("data:image/", "#")), (tag, attributes)
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"@import|url\(", text)


def test_what_a_row_shows(report):
    text = to_html(report)
    assert "<title>Small &lt;b&gt;study&lt;/b&gt;</title>" in text
    assert "kcnn train --model lenet5 --dataset digits --recipe lenet5-digits" in text
    assert "&lt;i&gt;moved&lt;/i&gt;" in text
    assert "<i>" not in text
    assert "augmentation crop=500 is as large as the images" in text
    assert text.count("Most confident mistakes") == sum(bool(line.outcomes) for line in report.lines)
    assert text.count('class="curve') == 3 * sum(bool(line.outcomes) for line in report.lines if not line.row.test_of)
    assert 'class="fill reported" style="width:' in text


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """A run on pictures whose class names are markup, shown in the page of single runs."""
    folder = tmp_path_factory.mktemp("nasty")
    names = [name.replace("/", "\u2215") for name in NASTY]  # a slash that a folder's name can have
    write_pictures(folder / "photos", names, count=10)
    options = ["--dataset", "folder", "--data-dir", str(folder / "photos"), "--image-size", "32", "--model", "lenet5"]
    run = folder / "<b>run</b>".replace("/", "\u2215")
    result = CliRunner().invoke(main, ["train", *options, "--epochs", "1", "--validation", "0", "--run", str(run)])
    assert result.exit_code == 0, result.output
    return run, names


def test_class_names_with_markup_are_text(nasty, opened, cli, tmp_path):
    run, names = nasty
    path = tmp_path / "page.html"
    assert cli("report", run, "-o", path).exit_code == 0
    dom, asked = opened(path, tmp_path)
    assert asked == set()
    assert "hacked" not in dom.split("</title>")[0]
    elements = Elements(dom)
    assert [line[0] for line in elements.tables[""][1:]] == sorted(names)
    assert elements.tables["results"][1][0] == run.name
    assert f"--data-dir {run.parent / 'photos'}</code>" in dom
    assert sum(tag == "script" for tag, _ in elements.found) == 1
    assert not any(attributes.get("src") == "x" for _, attributes in elements.found)


def test_the_page_of_single_runs(trained, cli, tmp_path):
    run = tmp_path / "mine"
    shutil.copytree(trained[0], run)
    outcome = cli("report", run)
    assert outcome.stdout.strip() == str(run / "report.html")
    elements = Elements((run / "report.html").read_text())
    assert elements.tables["results"][0] == ["row", "ours"]
    assert elements.tables["results"][1][0] == "mine"
    assert cli("report", run).exit_code == 0  # over a page of its own
    shutil.copytree(run, tmp_path / "other")
    both = tmp_path / "both.html"
    assert cli("report", run, tmp_path / "other", "-o", both).exit_code == 0
    costs = Elements(both.read_text()).tables["costs"]
    assert [line[0] for line in costs[1:]] == ["mine", "other"]
    assert costs[2][-1] == "p = 1 against mine: 0 images better, 0 worse"


def test_mistakes_of_the_command(trained, cli, tmp_path):
    run = tmp_path / "mine"
    shutil.copytree(trained[0], run)
    (run / "report.html").write_text("my own page")
    one_line_error(cli("report", run), 2, "report.html already exists")
    one_line_error(cli("report", run, "-o", tmp_path / "page.txt"), 2, "a page's name ends in .html")
    one_line_error(cli("report", tmp_path / "none", "-o", tmp_path / "x.html"), 1, "There is no run directory")
    RunDir(run).result.unlink()
    one_line_error(cli("report", run, "-o", tmp_path / "x.html"), 1, "is not finished. Go on with: kcnn train --resume")
    assert (run / "report.html").read_text() == "my own page"
    assert not (tmp_path / "x.html").exists()


def test_a_run_without_predictions_says_how_to_get_them(trained, cli, tmp_path):
    run = RunDir(tmp_path / "old")
    shutil.copytree(trained[0], run.path)
    run.predictions.unlink()
    text = to_html(runs_report([run.path]))
    assert f"kcnn evaluate {run.path} --predictions {run.predictions}" in text
    assert cli("evaluate", run.path, "--predictions", run.predictions).exit_code == 0
    assert "Most confident mistakes" in to_html(runs_report([run.path]))


def test_images_that_are_not_here_are_no_error(nasty, tmp_path):
    run = RunDir(tmp_path / "run")
    shutil.copytree(nasty[0], run.path)
    text = run.recipe.read_text()
    run.recipe.write_text(text.replace(str(nasty[0].parent / "photos"), str(tmp_path / "gone")))
    page = to_html(runs_report([run.path]))
    assert "The images of folder are not on this machine" in page
    assert 'class="confusion"' in page


def test_many_classes_are_a_picture_and_a_list():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, 500)
    predicted = np.where(rng.random(500) < 0.7, labels, (labels + 1) % 30)
    names = [f"class {index}" for index in range(30)]
    found = confusion(Predictions(labels, predicted, np.zeros((500, 30), np.float32)), names)
    assert found["picture"].startswith("data:image/png;base64,")
    assert found["rows"] == []
    true, guess, count = found["pairs"][0]
    place = names.index(true)
    assert guess == names[(place + 1) % 30]
    assert count == ((labels == place) & (predicted != place)).sum()


def test_the_most_confident_mistakes_come_first():
    labels, predicted = np.array([0, 1, 0, 1]), np.array([1, 1, 1, 0])
    probabilities = np.array([[0.4, 0.6], [0, 1], [0.1, 0.9], [0.75, 0.25]], np.float32)
    images = np.zeros((4, 8, 8, 3), np.uint8)
    shown = mistakes(Predictions(labels, predicted, probabilities), ["no", "yes"], Split(images, labels))
    assert [(entry["true"], entry["predicted"], entry["probability"]) for entry in shown] == [
        *(("no", "yes", "90.0%"), ("yes", "no", "75.0%"), ("no", "yes", "60.0%"))
    ]


def test_curves_stay_inside_their_picture(trained):
    history = read_history(RunDir(trained[0]))
    single = type(history)(history.rows[:1])
    for chart in charts({"two": history, "one": single}):
        points = [tuple(map(float, point.split(","))) for curve in chart.curves for point in curve.points.split()]
        assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in points)
        assert [curve.colour for curve in chart.curves] == [0, 1]
        assert len(chart.y_ticks) > 1
