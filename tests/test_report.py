"""The report: one file, offline, escaped, and drawn by a real browser where there is one."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from journals import METRIC, asha_experiment, events_of, header, small_experiment
from typer.testing import CliRunner

from raytune_suite.analysis import Experiment, load
from raytune_suite.cli import build
from raytune_suite.journal import Journal
from raytune_suite.report import html, write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
TAGS = {"p", "div", "section", "table", "tr", "td", "th", "ul", "li", "details", "pre", "h2", "h3", "span", "dl", "dt"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return load(asha_experiment(tmp_path_factory.mktemp("report") / "digits"))


@pytest.fixture(scope="module")
def page(digits: Experiment) -> str:
    return html(digits)


class Balance(HTMLParser):
    """Follows the elements and collects the text outside scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.silent = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.silent = tag in ("script", "style")
        if tag in TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.silent = False
        if tag in TAGS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.words.append(data)


def read(text: str) -> str:
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    return " ".join(" ".join(parser.words).split())


def test_the_report_says_how_the_study_went(page: str, digits: Experiment) -> None:
    text = read(page)
    best = digits.best()
    for expected in (
        "minimise validation/loss · finished",
        f"trial {best.number}, iteration 27",
        "best (trial 2)",
        "default (trial 0)",
        "5 completed",
        "32 stopped",
        "1 timed out",
        "ValueError: expected 64 channels, got <16>",
        "test/accuracy 0.975 0.95",
        "NVIDIA H200",
        "scheduler: {name: asha",
        "asha: rungs 1, 3, 9",
    ):
        assert expected in text
    assert text.count("completed") > 5


def test_the_report_is_one_file_that_needs_no_network(page: str) -> None:
    assert page.count("plotly.js v") == 1
    assert not re.search(r"<(script|img|iframe)[^>]+src=|<link|@import|url\(http", page.split("<script>")[0])
    assert "default-src 'none'" in page


def test_every_trial_has_a_row_with_its_state(page: str) -> None:
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    assert body.count("<tr") == 40
    assert body.count('class="best"') == 1
    assert body.count('class="state failed"') == 3


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{figures}}"


def hostile(folder: Path) -> Path:
    """An experiment with markup wherever a user's text can be."""
    with Journal.create(folder) as journal:
        (folder / "study.yaml").write_text(f"name: '{HOSTILE}'\n")
        space = [{"name": HOSTILE, "kind": "choice", "values": [HOSTILE, "b"]}]
        header(journal, name=HOSTILE, space=space)
        journal.append("environment", id=HOSTILE, facts={HOSTILE: HOSTILE, "packages": [HOSTILE] * 9})
        for number, value in enumerate([0.5, 0.6]):
            point = {HOSTILE: [HOSTILE, "b"][number]}
            journal.append("trial", number=number, trial_id="0", config=point, point=point, origin=HOSTILE)
            journal.append("start", number=number, node=HOSTILE, environment=HOSTILE)
            journal.append("report", number=number, iteration=1, metrics={METRIC: value, HOSTILE: 1.0}, elapsed=1.0)
        error = {"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE}
        journal.append("end", number=1, state="failed", error=error, reason=HOSTILE)
        journal.append("close", state="finished", reason=HOSTILE, exit_code=0)
    return folder


def test_nothing_from_the_experiment_is_taken_for_markup(tmp_path: Path) -> None:
    text = html(load(hostile(tmp_path / "study")))
    outside = text.split("<script>")[0]
    assert "<img" not in outside
    assert "<script>alert" not in text
    assert "alert(1)" in outside
    read(text)


SMALL: dict[str, list[tuple[list[float], str | None]]] = {
    "nothing": [],
    "one trial": [([0.5, 0.4], "completed")],
    "one running trial": [([0.5], None)],
    "only failures": [([], "failed"), ([0.3], "oom"), ([math.nan], "stopped")],
    "a single value": [([0.5], "completed")] * 5,
    "diverged": [([1e30, math.inf], "stopped"), ([-0.5], "completed")],
}


@pytest.mark.parametrize("trials", SMALL.values(), ids=SMALL)
def test_every_experiment_has_a_report(tmp_path: Path, trials: list[tuple[list[float], str | None]]) -> None:
    read(html(load(small_experiment(tmp_path / "study", *trials))))


def test_a_report_can_be_written_while_the_study_runs(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "study") as journal:
        header(journal)
        for event in events_of(0, [0.5], state=None):
            journal.append(**event)
        text = read(html(load(tmp_path / "study")))
    assert "1 running" in text
    assert "The folder has no study.yaml." in text


def test_equal_errors_are_shown_once_with_their_number(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "study") as journal:
        header(journal)
        for number in range(15):
            journal.append("trial", number=number, trial_id=f"{number:05d}", config={}, point={})
            error = {"type": "KeyError", "message": "'lr'", "traceback": f"trace {number}"}
            journal.append("end", number=number, state="failed", error=error)
    text = read(html(load(tmp_path / "study")))
    assert "15 \N{MULTIPLICATION SIGN} KeyError: 'lr' (trial 0, 1, 2" in text
    assert "trace 0" in text
    assert "trace 1" not in text


def test_the_commands_write_files_and_say_where(digits: Experiment, tmp_path: Path) -> None:
    for words in (["report", str(digits.folder)], ["plot", str(digits.folder), "timeline"]):
        path = tmp_path / f"{words[0]}.html"
        result = CliRunner().invoke(build(), [*words, "-o", str(path)])
        assert result.exit_code == 0, result.output
        assert result.output.strip() == str(path)
        assert "plotly.js v" in path.read_text()


def test_by_default_the_report_lies_in_the_experiment(tmp_path: Path) -> None:
    folder = small_experiment(tmp_path / "study", ([0.5], "completed"))
    assert write(load(folder)) == folder / "report.html"
    assert load(folder).best().number == 0


def browse(path: Path, profile: Path, *flags: str) -> tuple[str, list[str]]:
    """The page after its scripts have run, and what they wrote to the console."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--window-size=1200,900", "--virtual-time-budget=20000",
        "--enable-logging=stderr", *flags, "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


browser = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")]


def example(kind: str, folder: Path) -> Path:
    if kind == "hostile":
        return hostile(folder)
    if kind == "large":
        return asha_experiment(folder, trials=220, slots=16)
    return small_experiment(folder, *SMALL[kind]) if kind in SMALL else asha_experiment(folder)


@pytest.mark.parametrize(
    "kind",
    [
        *(pytest.param(kind, marks=browser) for kind in ("whole", "one trial", "nothing", "hostile")),
        pytest.param("large", marks=[*browser, pytest.mark.slow]),
    ],
)
def test_a_browser_draws_every_figure_without_an_error(kind: str, tmp_path: Path) -> None:
    path = write(load(example(kind, tmp_path / "study")), tmp_path / "report.html")
    dark = ["--blink-settings=preferredColorScheme=0"] if kind == "large" else []
    page, console = browse(path, tmp_path / "profile", *dark)
    assert console == []
    body = page.split("</style>", 1)[1]
    figures = re.findall(r'<div class="figure[^>]*>', body)
    assert len(figures) >= 4
    assert all('data-drawn="yes"' in figure for figure in figures)
    assert body.count('class="main-svg"') >= len(figures)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_a_click_on_a_heading_sorts_and_a_word_filters(digits: Experiment, tmp_path: Path) -> None:
    script = """<script>
      const heads = Array.from(document.querySelectorAll("#trials-table th button"));
      heads.find((head) => head.textContent === "value").click();
      const input = document.getElementById("search");
      input.value = "sgd stopped";
      input.dispatchEvent(new Event("input"));
    </script></body>"""
    path = tmp_path / "report.html"
    path.write_text(html(digits).replace("</body>", script))
    page, console = browse(path, tmp_path / "profile")
    assert console == []
    table = page.split('id="trials-table"')[1].split("</table>")[0]
    heads = re.findall(r"<button[^>]*>([^<]+)</button>", table)
    rows = [row for row in table.split("<tbody>")[1].split("<tr")[1:] if not row.split(">")[0].count("hidden")]
    assert all("sgd" in row and "stopped" in row for row in rows)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row)[heads.index("value")] for row in rows]
    assert len(cells) > 5
    assert [float(cell) for cell in cells] == sorted(map(float, cells))
