from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytune_suite.errors import TrainableError
from raytune_suite.resolve import find_project, is_reference, reference_to, resolve


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("mine"):
            del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "mine_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "digits.py").write_text("class Digits:\n    class Inner:\n        pass\n\nimport mine_other\n")
    (tmp_path / "mine_other.py").write_text("value = 1\n")
    (tmp_path / "mine_broken.py").write_text("1 / 0\n")
    (tmp_path / "mine_needy.py").write_text("import mine_not_installed_anywhere\n")
    return tmp_path


def message(reference: str, project: Path) -> str:
    with pytest.raises(TrainableError) as error:
        resolve(reference, project)
    return str(error.value)


def test_a_class_is_found_relative_to_the_project_with_its_own_imports(project: Path) -> None:
    assert resolve("mine_pkg.digits:Digits", project).__name__ == "Digits"
    assert resolve("mine_pkg.digits:Digits.Inner", str(project)).__qualname__ == "Digits.Inner"
    assert sys.path[0] == str(project)


def test_installed_modules_are_found_too(project: Path) -> None:
    assert resolve("pathlib:Path", project) is Path


def test_resolving_again_leaves_one_entry_on_the_path(project: Path) -> None:
    for _ in range(3):
        resolve("mine_other:value", project)
    assert sys.path.count(str(project)) == 1


def test_a_missing_module_names_the_near_one_and_where_it_looked(project: Path) -> None:
    text = message("mine_pkg.digit:Digits", project)
    assert "there is no module mine_pkg.digit" in text
    assert "Did you mean mine_pkg.digits?" in text
    assert str(project) in text
    assert "Did you mean mine_other?" in message("mine_othr:value", project)


def test_a_missing_attribute_names_the_near_one(project: Path) -> None:
    assert "has no Digit. Did you mean Digits?" in message("mine_pkg.digits:Digit", project)
    assert "has no Xyzzy. It has: " in message("mine_pkg.digits:Xyzzy", project)


def test_a_module_that_fails_says_how(project: Path) -> None:
    with pytest.raises(TrainableError, match="importing mine_broken failed: ZeroDivisionError") as error:
        resolve("mine_broken:X", project)
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    text = message("mine_needy:X", project)
    assert (
        text
        == "mine_needy:X: importing mine_needy failed: it needs mine_not_installed_anywhere, which is not installed"
    )


@pytest.mark.parametrize("reference", ["digits", "a.b.C", "a:", ":b", "a b:C", "a/b.py:C", "1a:b", ""])
def test_other_forms_are_refused(reference: str, project: Path) -> None:
    assert not is_reference(reference)
    assert "must have the form package.module:Class" in message(reference, project)


def test_a_project_is_not_shadowed_by_a_module_of_the_same_name_imported_before(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine_twin.py").write_text(f"name = {name!r}\n")
    assert resolve("mine_twin:name", tmp_path / "one") == "one"
    assert resolve("mine_twin:name", tmp_path / "two") == "two"


def test_a_module_is_imported_once(project: Path) -> None:
    first = resolve("mine_pkg.digits:Digits", project)
    assert resolve("mine_pkg.digits:Digits", project) is first


def test_a_reference_leads_back(project: Path) -> None:
    found = resolve("mine_pkg.digits:Digits.Inner", project)
    assert reference_to(found) == "mine_pkg.digits:Digits.Inner"


def test_what_has_no_reference_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="a lambda cannot be written down"):
        reference_to(lambda: 1)
    with pytest.raises(ValueError, match="an object of type int cannot be written down"):
        reference_to(3)
    script = type("Script", (), {"__module__": "__main__"})
    script.__qualname__ = "Script"
    with pytest.raises(ValueError, match="Script is defined in the script that is running"):
        reference_to(script)


def test_the_project_of_a_file_is_the_nearest_marked_folder(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_project(deep / "study.yaml") == deep
    (tmp_path / "a" / ".git").mkdir()
    assert find_project(deep / "study.yaml") == tmp_path / "a"
    (deep / "pyproject.toml").touch()
    assert find_project(deep / "study.yaml") == deep
