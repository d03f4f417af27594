"""What sites rely on, and what they suffer from elsewhere: each with the tests that prove it here.

`docs/compatibility.md` has the same names in its tables. `pytest -m compatibility` runs all of these tests.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compatibility import DEFECTS, ROWS, TROUBLES, ids

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "compatibility.md"
ALL = {**ROWS, **DEFECTS, **TROUBLES}


@pytest.mark.parametrize("name", ALL)
def test_the_tests_that_prove_it_exist(name: str) -> None:
    found = ids(ALL[name])
    assert found
    for file, test in found:
        assert re.search(rf"^ *def {test}\(", (TESTS / file).read_text(), re.MULTILINE), (file, test)


def test_the_page_for_users_has_every_name_and_no_other() -> None:
    tables, _, _ = PAGE.read_text().partition("## Not here")
    cells = re.findall(r"^\| (.+?) \|", tables, re.MULTILINE)
    headings = {"what sites rely on", "defect elsewhere", "trouble"}
    assert [cell for cell in cells if cell not in headings] == list(ALL)
