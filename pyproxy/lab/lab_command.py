"""`pyproxy lab list` and `pyproxy lab run NAME`: exercises on a PostgreSQL of their own, graded."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pyproxy.arguments import port_or_any
from pyproxy.event_loop import run_in_loop
from pyproxy.exit_codes import DONE, NO, WRONG
from pyproxy.lab import binaries
from pyproxy.lab.cluster import ClusterError
from pyproxy.lab.exercises import EXERCISES
from pyproxy.lab.exercises.exercise import Exercise, Grade
from pyproxy.lab.exercises.room import Room
from pyproxy.lab.interrupts import as_control_c
from pyproxy.lab.leftovers import temporary_folder
from pyproxy.logs import configure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="the exercises")
    listing.set_defaults(verb=_list)
    running = verbs.add_parser("run", help="do one; exit 1 if its grade is not passed")
    running.add_argument("name", metavar="NAME", choices=tuple(EXERCISES), help="see: list")
    running.add_argument("--short", action="store_true", help="fewer clients")
    running.add_argument(
        "--http-port",
        type=port_or_any,
        default=0,
        metavar="P",
        help="the page's; default: a free one",
    )
    running.add_argument("--hold", action="store_true", help="keep each stage until Ctrl-C")
    running.add_argument("--log", type=Path, metavar="FILE", help="write the proxy's log there")
    running.add_argument("--json", action="store_true", help="print the grades as JSON")
    running.set_defaults(verb=_run)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    answer: int = arguments.verb(arguments)
    return answer


def _list(_arguments: argparse.Namespace) -> int:
    width = max(map(len, EXERCISES))
    for exercise in EXERCISES.values():
        sys.stdout.write(f"{exercise.name:<{width}}  {exercise.goal}\n")
    return DONE


def _run(arguments: argparse.Namespace) -> int:
    as_control_c()
    log = None if arguments.log is None else arguments.log.open("a", encoding="utf-8")
    configure(log)
    try:
        with temporary_folder("pyproxy-lab-") as folder:
            room = Room(folder, http_port=arguments.http_port, hold=arguments.hold)
            try:
                return run_in_loop(_grade(EXERCISES[arguments.name], room, arguments))
            finally:
                room.close()
    except (binaries.NoPostgres, ClusterError) as error:
        sys.stderr.write(f"pyproxy lab: {error}\n")
        return WRONG
    finally:
        if log is not None:
            log.close()


async def _grade(exercise: Exercise, room: Room, arguments: argparse.Namespace) -> int:
    room.say(f"{exercise.name}: {exercise.goal}\n")
    grades = await exercise.run(room, arguments.short)
    passed = all(grade.passed for grade in grades)
    if arguments.json:
        rows = [grade._asdict() for grade in grades]
        answer = {"exercise": exercise.name, "passed": passed, "grades": rows}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.write("\n" + "".join(_line(grade) for grade in grades))
        sys.stdout.write(f"\n{'Passed' if passed else 'Not passed'}. {exercise.lesson}\n")
    return DONE if passed else NO


def _line(grade: Grade) -> str:
    mark = "ok  " if grade.passed else "FAIL"
    return f"{mark}  {grade.what}: {grade.measured}  (wanted: {grade.wanted})\n"
