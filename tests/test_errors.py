"""What an error of the suite still needs besides its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytune_suite.errors import StudyError, TrainableError, is_all_said
from raytune_suite.resolve import resolve


def test_an_error_of_the_suites_own_code_says_all_in_its_text(tmp_path: Path) -> None:
    with pytest.raises(TrainableError) as raised:
        resolve("nowhere_at_all:Thing", tmp_path)
    error = raised.value
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this test's own frame
    assert is_all_said(error)


@pytest.mark.parametrize("error", [ValueError("mine"), StudyError([])])
def test_an_error_with_code_of_the_user_in_it_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        raise error
    assert not is_all_said(raised.value)


def test_an_error_that_wraps_the_users_keeps_its_traceback() -> None:
    error = TrainableError("cannot be imported")
    error.__cause__ = ValueError("mine")
    assert not is_all_said(error)
