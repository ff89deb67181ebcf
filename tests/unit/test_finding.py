"""What is said of before and after, in a phrase."""

import pytest

from multistage.checks import CheckResult
from multistage.finding import finding, works
from tests.unit.made import made_build

BEFORE = made_build({"base": 700_000_000, "app": 40_000_000}, stages=1)
AFTER = made_build({"app": 7_000_000})


def test_an_image_that_works_is_compared_and_another_is_not() -> None:
    assert finding(BEFORE, AFTER) == "106 times smaller"
    said = finding(BEFORE, AFTER, works=False)
    assert said == "740 MB → 7 MB unpacked, but the container does not do what it should yet"
    assert finding(BEFORE, BEFORE, works=False) == "not converted yet"


@pytest.mark.parametrize(
    ("check", "required", "expected"),
    [
        ("starts", True, False),
        ("answers-/", True, False),
        ("assets", True, False),
        ("stops", True, False),
        ("builds", True, False),
        ("budget", True, True),
        ("without-shell", True, True),
        ("answers-/", False, True),  # not asked: the machine has no network
    ],
)
def test_a_container_works_where_no_required_check_of_it_fails(
    check: str, required: bool, expected: bool
) -> None:
    right = CheckResult("starts", "It starts", True, True, "It does.")
    assert works([right, CheckResult(check, "A check", required, False, "No.")]) is expected
    assert works([right, CheckResult(check, "A check", required, True, "Yes.")])
