"""Every page of the documentation does what it says; tools/run_docs.py runs the blocks."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


docs = tool("run_docs")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_the_page_runs(page: Path) -> None:
    docs.run(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_only_what_needs_a_network_or_a_cluster_is_left_out(page: Path) -> None:
    for block in docs.blocks(page):
        if "norun" in block.marks:
            docs._must_be_out_of_reach(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.S)
    targets = [link for link in re.findall(r"\]\(([^)#\s]+)", prose) if "://" not in link]
    assert not [link for link in targets if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_a_page_names_exist_and_ci_runs_them(page: Path) -> None:
    named = {
        word
        for block in docs.blocks(page)
        for line in docs.commands(block)
        if line.startswith("make ")
        for word in line.split()[1:]
    }
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    assert not {target for target in named if f"\n{target}:" not in makefile}
    in_parts = {"check"}  # its lint, and among all tests its own
    assert "\nmake lint" in ci
    assert "\nmake test" in ci
    assert not {target for target in named - in_parts if f"\nmake {target}" not in ci}


def test_the_readme_starts_with_the_two_commands() -> None:
    first, second = docs.blocks(ROOT / "README.md")[:2]
    assert (first.text, second.text) == ("make demo\n", "make test\n")


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [page.name for page in PAGES[1:] if f"docs/{page.name}" not in readme]


def test_the_command_reference_is_current() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == tool("command_reference").reference()


def test_every_state_is_explained() -> None:
    from raytune_suite.states import State

    page = (ROOT / "docs" / "states.md").read_text()
    assert not [state for state in State if f"| `{state.value}` |" not in page]


def test_every_key_of_a_study_is_explained() -> None:
    from raytune_suite.study import Study

    page = (ROOT / "docs" / "study-file.md").read_text()
    assert not [key for key in Study.model_fields if f"`{key}`" not in page]


# The runner itself


def page_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def test_the_runner_finds_blocks_with_their_lines_and_marks(tmp_path: Path) -> None:
    text = "one\n\n<!-- file: a.py -->\n```python\nx = 1\n```\n\n```sh\nls\n```\n"
    first, second = docs.blocks(page_of(tmp_path, text))
    assert (first.line, first.language, first.text, first.marks) == (4, "python", "x = 1\n", {"file": "a.py"})
    assert (second.line, second.text, second.marks) == (8, "ls\n", {})


def test_blocks_of_a_page_share_names_and_files(tmp_path: Path) -> None:
    text = (
        "```python\nx = 41\n```\n"
        "<!-- file: told.py -->\n```python\ny = 1\n```\n"
        "```sh\nls told.py > listed\n```\n"
        "```python\nimport told\nassert x + told.y == 42 and open('listed').read() == 'told.py\\n'\n```\n"
        "```console\n$ echo one two\none ...\n$ cat listed\ntold.py\n```\n"
    )
    assert docs.run(page_of(tmp_path, text)) == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nfalse\n```\n", "exit code 1"),
        ("```sh\nno-such-command | cat\n```\n", "exit code 127"),
        ("<!-- exit: 2 -->\n```sh\ntrue\n```\n", "exit code 0, not 2"),
        ("```python\nraise ValueError('seen')\n```\n", "seen"),
        ("```console\n$ echo one\ntwo\n```\n", "but it printed:\none"),
        ("<!-- norun -->\n```sh\nls\n```\n", "nothing keeps these from being run"),
        ("<!-- norun -->\n```python\n1\n```\n", "can always be run"),
        ("```yaml\nspace: {a: {unifrom: [0, 1]}}\n```\n", "uniform"),
    ],
)
def test_the_runner_fails_on(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)):
        docs.run(page_of(tmp_path, text))


def test_the_runner_reports_failures_by_its_exit_code(tmp_path: Path) -> None:
    path = page_of(tmp_path, "```sh\nfalse\n```\n")
    done = subprocess.run([sys.executable, ROOT / "tools" / "run_docs.py", path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "page.md:1 (sh)" in done.stderr
