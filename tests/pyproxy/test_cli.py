"""What the command line opens, and how it tells what it can't use."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyproxy.cli import COMMANDS, main
from pyproxy.lab import demo, lab_command


@pytest.mark.parametrize(
    ("words", "loaded"),
    [(["--url", "http://127.0.0.1:1"], []), (["--config", "port-1.yaml"], ["yaml"])],
    ids=["url", "config"],
)
def test_a_health_check_loads_nothing_of_the_proxy(
    words: list[str], loaded: list[str], tmp_path: Path
) -> None:
    """A container runs it every ten seconds."""
    (tmp_path / "port-1.yaml").write_text("http: {port: 1}")
    program = (
        "import sys; from pyproxy.cli import main; code = main(sys.argv[1:]);"
        " costly = {'asyncio', 'yaml', 'scramp', 'pyproxy.app', 'pyproxy.auth'};"
        " print(sorted(costly & set(sys.modules)), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "healthcheck", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout == f"{loaded} 1\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_its_help(
    command: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, summary, _ = command
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: pyproxy {name} ")
    assert summary[1:] in told


@pytest.mark.parametrize(("process", "ended"), [(1, [143]), (2, [])])
def test_as_process_1_it_is_ended_by_sigterm(
    process: int, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a container: the kernel drops what such a process has no handler for."""
    codes: list[int] = []
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        monkeypatch.setattr(os, "getpid", lambda: process)
        monkeypatch.setattr(os, "_exit", codes.append)
        main(["explain", "SELECT 1"])
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert codes == ended


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", "/nowhere.yaml"]) == 2
    assert capsys.readouterr().err == "pyproxy: /nowhere.yaml: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("token --user u --config nowhere", "token: nowhere: No such file or directory"),
        ("explain --config folder x", "explain: folder: Is a directory"),
        ("audit --sql text --config nowhere", "audit: nowhere: No such file or directory"),
        ("audit --sql binary", "audit: binary: it is binary, where a text is wanted"),
        (
            "audit --pg-stat-statements binary",
            "audit: binary: it is binary, where a text is wanted",
        ),
        ("audit --sql -", "audit: standard input: it is not UTF-8"),
        ("explain -", "explain: SQL: it is not UTF-8"),
        ("explain --file -", "explain: -: it is not UTF-8"),
        ("explain \udcff", "explain: SQL: it is not UTF-8"),
        ("audit --pg-stat-statements postgresql://u@h:70000/d", "audit: not a postgresql://user"),
        ("audit --pg-stat-statements postgresql://u@[::1/d", "audit: not a postgresql://user"),
        (
            "audit --pg-stat-statements postgresql://u@h/d?sslmode=bogus",
            "audit: sslmode is 'bogus': it must be one of disable, prefer, require, verify-full",
        ),
        (
            "audit --pg-stat-statements postgresql://u@127.0.0.1:1/d",
            "audit: the database: 127.0.0.1:1: Connection refused",
        ),
        ("lab run pinning --log folder", ": folder: Is a directory"),
        ("demo --data-dir text", "demo: text: File exists"),
        ("demo --port 7 --http-port 7", "demo: --port and --http-port are both 7: give two "),
    ],
)
def test_what_cannot_be_used_is_one_line(
    arguments: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("SELECT 1;")
    (tmp_path / "binary").write_bytes(b"query,calls\0\xff")
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT '\udcff'"))
    monkeypatch.setattr(demo, "_check_free", lambda number: None)
    for command in (demo, lab_command):
        # The test run's own signals stay as they are.
        monkeypatch.setattr(command, "as_control_c", lambda: None)
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"pyproxy{told}" if told.startswith(":") else f"pyproxy {told}")
    assert (out, err.count("\n")) == ("", 1)
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "pyproxy: the following arguments are required: COMMAND (see pyproxy --help)\n"),
        ("nosuch", "pyproxy: argument COMMAND: invalid choice: 'nosuch' (choose from "),
        ("run", "pyproxy run: the following arguments are required: --config (see pyproxy run -"),
        ("check --config f extra", "pyproxy: unrecognized arguments: extra (see pyproxy --help)\n"),
        (
            "audit --sql f --clients -1",
            "pyproxy audit: argument --clients: '-1' is no whole number from 0 to 1000000 (see ",
        ),
        ("audit --sql f --vcpus x", "pyproxy audit: argument --vcpus: 'x' is no whole number"),
        *(
            (
                f"{command} {port}",
                (
                    f"pyproxy {command.partition(' ')[0]}: argument {command.split()[-1]}: "
                    f"'{port}' is no port: it must be from 1 to 65535"
                ),
            )
            for command in ("token --config f --user u --port", "demo --port", "demo --http-port")
            for port in ("0", "65536", "-1", "x", "nan")
        ),
        *(
            (
                f"lab run pinning --http-port={port}",
                (
                    f"pyproxy lab run: argument --http-port: '{port}' is no port: it must be from 1 to "
                    "65535, or 0 for a free one"
                ),
            )
            for port in ("65536", "-1", "x")
        ),
        *(
            (
                f"{command}={time}",
                (
                    f"pyproxy {command.replace(' ', ': argument ')}: '{time}' is no time: it must be "
                    "more than 0 and at most 86400 seconds"
                ),
            )
            for command in ("metrics --interval", "healthcheck --timeout")
            for time in ("-1", "0", "nan", "inf", "1e300", "soon", "")
        ),
        *(
            (
                f"audit --sql f --price={price}",
                f"pyproxy audit: argument --price: '{price}' is no price: it must be dollars from 0",
            )
            for price in ("-1", "nan", "inf", "free")
        ),
        (
            f"audit --sql f --clients {'9' * 5000}",
            f"pyproxy audit: argument --clients: '{'9' * 5000}' is no whole number",
        ),
        *(
            (
                f"{command} --url {url}",
                (
                    f"pyproxy {command}: argument --url: '{url}' is not the URL of a proxy: "
                    "use http://host:port"
                ),
            )
            for command in ("pins", "metrics", "healthcheck", "failover", "audit", "what-if")
            for url in (
                *("ftp://x", "https://x", "127.0.0.1:8432", "http://h:70000", "http://h:0"),
                *("http://a@h", "http://h/#page"),
            )
        ),
        ("check --config=", "pyproxy check: argument --config: it must not be empty"),
        ("metrics --namespace=", "pyproxy metrics: argument --namespace: it must not be empty"),
        ("token --config f --user=", "pyproxy token: argument --user: it must not be empty"),
        (
            "token --config f --user u --host=",
            "pyproxy token: argument --host: it must not be empty",
        ),
        *(
            (
                f"token --config f --user u --host {host}",
                f"pyproxy token: argument --host: '{host}' is no host name or address; a port is ",
            )
            for host in ("proxy.example:5432", "http://proxy.example", "bücher")
        ),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith(told)
    assert (out, err.count("\n")) == ("", 1)


def shell(script: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `pyproxy` is the program."""
    return subprocess.run(
        ["bash", "-c", f'pyproxy() {{ "{sys.executable}" -m pyproxy "$@"; }}; {script}'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )


def test_who_has_seen_enough_hears_no_complaint(tmp_path: Path) -> None:
    done = shell("pyproxy lab list | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_disk_that_is_full_is_told_in_one_line(tmp_path: Path) -> None:
    done = shell("pyproxy lab list > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (2, "pyproxy: No space left on device\n")


def test_a_closed_output_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = shell("pyproxy explain 'SET a.b = 1' >&-", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert shell("pyproxy lab list 2>&-", tmp_path).returncode == 0


def test_letters_that_the_locale_lacks_are_escaped(tmp_path: Path) -> None:
    done = shell("pyproxy explain \"SET a.b = 'é'\"", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\\xe9" in done.stdout
    # A name that is no text.
    done = shell("printf 'SELECT 1' > $'q\\xe9'; pyproxy explain --file $'q\\xe9'", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "q\\udce9:1: does not pin" in done.stdout
    done = shell(
        "printf 'SET a.b = 1' > $'q\\xe9'; pyproxy explain --format sarif --file $'q\\xe9'",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert '"uri": "q%E9"' in done.stdout
