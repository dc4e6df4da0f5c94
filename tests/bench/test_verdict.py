"""What a verdict costs: remembered, cleared by a quick look, and judged word by word."""

from __future__ import annotations

import itertools
import string
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import Classifier

pytestmark = pytest.mark.bench

SIZES = {"100 B": 100, "2 kB": 2_000, "16 kB": 16_000}
ROUNDS = 5
_LETTERS = ("".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=6))


def joins(size: int, word: str) -> bytes:
    """A query of about so many bytes: tables joined one after the other, as an ORM writes them."""
    parts = [f"SELECT {word}.id, {word}.name FROM orders AS {word}"]
    length = len(parts[0])
    for number in itertools.count():
        join = f" LEFT JOIN items AS i{number} ON i{number}.order_id = {word}.id AND i{number}.kind = 'x'"
        if length + len(join) > size:
            break
        parts.append(join)
        length += len(join)
    return "".join(parts).encode()


def microseconds(judge: Callable[[bytes], object], texts: list[bytes]) -> float:
    """For one text, of processor time, the best of some rounds; each is judged once a round."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for text in texts:
            judge(text)
        best = min(best, time.process_time() - began)
    return best / len(texts) * 1e6


def rows() -> Iterator[tuple[str, str, float]]:
    """Which size, which way, microseconds."""
    for name, size in SIZES.items():
        count = max(20_000 // size, 2) * 5
        texts = [joins(size, next(_LETTERS)) for _ in range(count)]
        pinning = [text.replace(b"SELECT", b"SELECT nextval('q'),", 1) for text in texts]
        classifier = Classifier(CompatibilityConfig())
        for text in (texts[0], pinning[0]):
            classifier.judge(text)
        yield name, "remembered, clean", microseconds(classifier.judge, texts[:1] * count)
        yield name, "remembered, pins", microseconds(classifier.judge, pinning[:1] * count)
        # It remembers nothing, so each judgement is the first one.
        forgetful = Classifier(CompatibilityConfig(), limit_bytes=0)
        yield name, "new, clean", microseconds(forgetful.judge, texts)
        yield name, "new, pins", microseconds(forgetful.judge, pinning)
        spelt = [b"/* a */" + text for text in texts]
        yield name, "new, word by word", microseconds(forgetful.judge, spelt)


def test_what_a_verdict_costs() -> None:
    found = list(rows())
    sys.stdout.writelines(f"\n{name:>6}  {way:20} {each:10.2f} µs" for name, way, each in found)
    cost = {(name, way): each for name, way, each in found}
    for name in SIZES:
        # A text that comes again costs next to nothing, or the memory is broken.
        assert cost[name, "remembered, pins"] * 5 < cost[name, "new, pins"]
