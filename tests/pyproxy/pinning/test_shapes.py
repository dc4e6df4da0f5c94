"""Texts that differ by digits alone are judged once, and no verdict changes by that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import CLEAN, Classifier
from pyproxy.pinning.shapes import CleanShapes

PIECES = st.sampled_from(
    [
        *("select", "insert", "set", "set_config", "nextval", "temp", "into", "with", "listen"),
        *('U&"', '"', "'", "$$", "$a1$", "$a2$", "--", "\n", ";", "(", ")", ",", ".", " ", " "),
        *("0", "1", "23", "\\0073", "x", "pg_advisory_lock"),
    ]
)


@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=12), st.booleans())
def test_what_was_judged_before_changes_no_verdict(
    first: list[str], second: list[str], conforming: bool
) -> None:
    judge = Classifier(CompatibilityConfig()).judge
    judge("".join(first).encode(), standard_conforming_strings=conforming)
    text = "".join(second)
    for digit in "07":
        alike = text.replace("1", digit).encode()
        alone = Classifier(CompatibilityConfig())
        assert judge(alike, standard_conforming_strings=conforming) == alone.judge(
            alike, standard_conforming_strings=conforming
        )


def test_no_word_that_decides_has_a_digit() -> None:
    """Else texts that differ by digits alone could have two verdicts."""
    suspicious = Classifier(CompatibilityConfig())._suspicious
    assert not [word for word in suspicious if any(byte in b"0123456789" for byte in word)]


def test_values_do_not_matter() -> None:
    judged = Classifier(CompatibilityConfig())
    assert judged.judge(b"SELECT a FROM t WHERE id = 1") is CLEAN
    assert judged.clean.has(b"SELECT a FROM t WHERE id = 7")
    assert not judged.clean.has(b"SELECT a FROM t WHERE id = 77")
    assert not judged._young


def test_what_pins_is_shown_with_its_own_values() -> None:
    judged = Classifier(CompatibilityConfig())
    for value in (b"0", b"1"):
        pin = judged.judge(b"SET a.b = " + value).pin
        assert pin is not None
        assert pin.statement.endswith(value.decode())


def test_what_it_remembers_is_bounded() -> None:
    shapes = CleanShapes(20_000)
    used = b"SELECT 'used'"
    shapes.add(used)
    for number in range(2_000):
        shapes.add(b"SELECT '" + b"x" * (number % 97) + b"y" * (number // 97) + b"'")
        assert shapes.has(used)
    assert len(shapes._young) + len(shapes._old) < 200


def test_a_long_text_is_over_the_limit_whatever_its_digits() -> None:
    """PIN-ALL-01."""
    judged = Classifier(CompatibilityConfig())
    assert judged.judge(b"SELECT 1") is CLEAN
    verdict = judged.judge(b"SELECT " + b"1" * 17_000)
    assert verdict.pin is not None
    assert verdict.pin.rule == "PIN-ALL-01"
