"""The file of known pins."""

from pathlib import Path

import pytest

from pyproxy.pytest_plugin.baseline import Baseline, BaselineError, without_numbers, write


def test_what_was_written_is_known(tmp_path: Path) -> None:
    file = tmp_path / "pins.yaml"
    pins = [
        ("PIN-PG-06", "listen ünï: #x"),
        ("PIN-PG-01", "set a to $1"),
        ("PIN-PG-06", "listen ünï: #x"),
    ]
    assert write(file, pins) == 2
    baseline = Baseline.read(file)
    assert all(baseline.knows(*pin) for pin in pins)
    assert not baseline.knows("PIN-PG-01", "set b to $1")
    assert not baseline.knows("PIN-PG-10", "set a to $1")


def test_an_empty_baseline_is_one(tmp_path: Path) -> None:
    file = tmp_path / "pins.yaml"
    assert write(file, []) == 0
    assert not Baseline.read(file).knows("PIN-PG-01", "set a to $1")


@pytest.mark.parametrize(
    ("digest", "kept"),
    [
        ('declare "_django_curs_140737_sync_1" cursor', 'declare "_django_curs_*_sync_*" cursor'),
        ("create temp table stage2 (n int4)", "create temp table stage2 (n int4)"),
        ("set a to $100, $2", "set a to $100, $2"),
        ("create temp table t_17000 as select $1", "create temp table t_* as select $1"),
    ],
)
def test_numbers_that_change_are_left_out(digest: str, kept: str) -> None:
    assert without_numbers(digest) == kept
    assert Baseline([("PIN-PG-03", kept)]).knows("PIN-PG-03", digest)


def test_nothing_in_a_digest_is_special_but_the_star() -> None:
    baseline = Baseline([("PIN-PG-03", "select (a[$1]) + c.* from t_* where x ~ $2")])
    assert baseline.knows("PIN-PG-03", "select (a[$1]) + c.* from t_17\n where x ~ $2")
    assert not baseline.knows("PIN-PG-03", "select a$1 + c.x from t_17 where x ~ $2")


def test_what_did_not_happen_is_told() -> None:
    baseline = Baseline([("PIN-PG-06", "listen a"), ("PIN-PG-06", "listen b")])
    baseline.knows("PIN-PG-06", "listen b")
    assert baseline.unseen() == [("PIN-PG-06", "listen a")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {rule: PIN-X, digest: a}", "there is no rule PIN-X"),
        ("- PIN-PG-01", "is not a list of rules and digests"),
        ("- {rule: PIN-PG-01}", "is not a list of rules and digests"),
        ("7", "is not a list of rules and digests"),
        ("{", "is not a list of rules and digests"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "pins.yaml"
    file.write_text(text)
    with pytest.raises(BaselineError, match=words):
        Baseline.read(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"nowhere: No such file"):
        Baseline.read(tmp_path / "nowhere")
