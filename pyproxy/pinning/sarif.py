"""Verdicts as SARIF 2.1.0, which code scanning shows beside the line that pins.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"; the properties
that GitHub's code scanning asks for are among them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyproxy
from pyproxy.pinning.explained import Explained
from pyproxy.pinning.rule import Rule
from pyproxy.pinning.rules import RULES

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
# What a finding is recognised by in the next run, though lines above it have moved.
_FINGERPRINT: Final = "pinningDigest/v1"


def as_sarif(explained: Sequence[Explained]) -> str:
    """One run with every statement that pins as a result."""
    pinning = [each for each in explained if each.pin is not None]
    rules = list(dict.fromkeys(each.rule for each in pinning))
    seen: dict[str, int] = {}
    run = {
        "tool": {
            "driver": {
                "name": "PyProxy",
                "semanticVersion": pyproxy.__version__,
                "rules": [_rule(RULES[rule]) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, rules.index(each.rule), seen) for each in pinning],
    }
    return json.dumps(
        {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2
    )


def _rule(rule: Rule) -> dict[str, object]:
    markdown = f"{rule.advice}:\n\n```\n{rule.ready}\n```\n" if rule.ready else f"{rule.advice}.\n"
    return {
        "id": rule.id,
        "shortDescription": {"text": f"RDS Proxy pins the session: {rule.matches}."},
        "fullDescription": {
            "text": "The session keeps its database connection until it ends, so that others have "
            f"to wait for one. Known from: {rule.source}."
        },
        "help": {"text": rule.remedy, "markdown": markdown},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["rds-proxy", "pinning"]},
    }


def _result(each: Explained, index: int, seen: dict[str, int]) -> dict[str, object]:
    assert each.pin is not None
    rule = RULES[each.rule]
    result: dict[str, object] = {
        "ruleId": rule.id,
        "ruleIndex": index,
        "level": "warning",
        "message": {"text": f"{each.pin.reason} {rule.remedy}"},
    }
    if each.origin:
        result["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(each.origin)},
                    "region": {
                        "startLine": each.begins.line,
                        "startColumn": each.begins.column,
                        "endLine": each.ends.line,
                        "endColumn": each.ends.column,
                    },
                }
            }
        ]
    # The same statement twice in a file is two findings.
    what = f"{each.origin}\0{each.rule}\0{each.pin.digest}"
    seen[what] = seen.get(what, 0) + 1
    text = f"{what}\0{seen[what]}".encode("utf-8", "surrogateescape")
    result["partialFingerprints"] = {_FINGERPRINT: hashlib.sha256(text).hexdigest()}
    return result


def _uri(origin: str) -> str:
    """Code scanning knows files by their path within the repository."""
    path = Path(origin)
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path))
