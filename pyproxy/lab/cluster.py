"""One PostgreSQL server of our own, on loopback and a free port.

    primary = Cluster.create(folder / "a", programs)
    primary.start()
    standby = Cluster.copy_of(primary, folder / "b")
    standby.start()
    primary.kill()                      # as a power cut does
    standby.promote()

It is our child: it ends with us at the latest, unless we are killed (SIGKILL, or a signal that
nobody handles: see `interrupts`). Then it stays, with its folder, until the next demonstration
(`leftovers`), or `pg_ctl stop -D …/data`.
Nothing is flushed to disk: these are databases to lose. Users are trusted to be who they say only
by SCRAM-SHA-256, as on AWS.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pyproxy.lab import ownership
from pyproxy.lab.ownership import Owner
from pyproxy.lab.segments import remove_segment

SUPERUSER: Final = "postgres"
START_TIMEOUT: Final = 60.0
KILL_TIMEOUT: Final = 10.0
_STANDBY: Final = "standby.signal"
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "wal_level": "replica",
    "wal_log_hints": "on",
    "wal_keep_size": "64MB",
    # Without it promotion and rejoining may wait out 5 seconds.
    "wal_retrieve_retry_interval": "200ms",
    "hot_standby": "on",
    # A slot whose standby never comes back must not fill the disk.
    "max_slot_wal_keep_size": "256MB",
    "log_min_messages": "warning",
}


class ClusterError(Exception):
    """PostgreSQL did not do what it was asked; the text ends with what it said."""


class Programs:
    """PostgreSQL's programs, and who runs them."""

    def __init__(self, binaries: Path, copies: Path) -> None:
        """`copies` is a folder for a copy of the programs, where one is needed."""
        self.owner: Owner | None = ownership.owner()
        self.folder: Path = ownership.reachable(binaries, self.owner, copies)
        self._uid = None if self.owner is None else self.owner.uid
        self._gid = None if self.owner is None else self.owner.gid
        self._groups: list[str | int] | None = None if self.owner is None else []

    def run(
        self, name: str, *arguments: str, environment: Mapping[str, str] = {}, stdin: str = ""
    ) -> None:
        """Run one to its end; raises ClusterError."""
        done = subprocess.run(
            [self.folder / name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", **environment},
            user=self._uid,
            group=self._gid,
            extra_groups=self._groups,
        )
        if done.returncode:
            raise ClusterError(f"{name} failed: {done.stderr.strip() or done.stdout.strip()}")

    def spawn(self, name: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start one that stays, in a session of its own so that Ctrl-C is ours to handle."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [self.folder / name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
            )


class Cluster:
    """One server and its folder."""

    def __init__(self, folder: Path, programs: Programs, password: str) -> None:
        """A cluster whose folder exists; see `create` and `copy_of` for new ones."""
        self.folder: Final = folder
        self.data: Final = folder / "data"
        self.log: Final = folder / "postgresql.log"
        self.programs: Final = programs
        # The superuser's.
        self.password: Final = password
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    # -- making --------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, programs: Programs, settings: Mapping[str, str] = {}) -> Cluster:
        """A new, empty cluster; not started yet."""
        cluster = cls._in(folder, programs, secrets.token_urlsafe(12))
        password_file = folder / "password"
        password_file.touch(0o600)
        password_file.write_text(cluster.password + "\n")
        ownership.give(password_file, programs.owner)
        programs.run(
            "initdb",
            f"--pgdata={cluster.data}",
            "--no-locale",
            "--encoding=UTF8",
            f"--username={SUPERUSER}",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--no-sync",
        )
        cluster.configure(_SETTINGS | dict(settings))
        return cluster

    @classmethod
    def copy_of(cls, primary: Cluster, folder: Path) -> Cluster:
        """A standby that streams from a running primary; not started yet."""
        cluster = cls._in(folder, primary.programs, primary.password)
        slot = f"slot_{secrets.token_hex(4)}"
        primary.programs.run(
            "pg_basebackup",
            f"--pgdata={cluster.data}",
            f"--dbname=host=127.0.0.1 port={primary.port} user={SUPERUSER}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--create-slot",
            f"--slot={slot}",
            "--no-sync",
            environment={"PGPASSWORD": primary.password},
        )
        return cluster

    @classmethod
    def _in(cls, folder: Path, programs: Programs, password: str) -> Cluster:
        folder.mkdir(parents=True, mode=0o755, exist_ok=True)
        ownership.give(folder, programs.owner)
        return cls(folder, programs, password)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add to postgresql.conf; read at the next start."""
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(lines)

    def execute(self, sql: str) -> None:
        """Run statements, each ended by a semicolon, while it is stopped: needs no password.

        An error in one is in the log only: single-user mode goes on.
        """
        self.programs.run(
            "postgres",
            "--single",
            "-j",
            "-D",
            str(self.data),
            "postgres",
            stdin="".join(
                f"{statement.strip()};\n\n" for statement in sql.split(";") if statement.strip()
            ),
        )

    # -- running -------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Is its process there?"""
        return self._process is not None and self._process.poll() is None

    def start(self, port: int = 0) -> None:
        """Start it and wait until it answers; on `port`, else on its former or a free one."""
        if self.running:
            return
        # Between finding a free port and taking it somebody else may: then another one is tried.
        for attempt in range(5):
            chosen = port or (self.port if attempt == 0 and self.port else free_port())
            process = self.programs.spawn(
                "postgres", "-D", str(self.data), "-p", str(chosen), log=self.log
            )
            self._process = process
            atexit.register(self.kill)
            if self._answers(process, chosen):
                self.port = chosen
                return
            if port:
                break
        raise ClusterError(f"PostgreSQL did not start: {self.last_words()}")

    def stop(self) -> None:
        """Stop it, sessions or not ("fast"), and wait."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it at once, as a power cut does: every process of it."""
        self._end(signal.SIGKILL)

    def stop_immediately(self) -> None:
        """Stop it without a checkpoint ("immediate"), and wait."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Stop every process of it where it stands: it is there, and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def promote(self) -> None:
        """Make a standby a primary."""
        trigger = self.data / "promote"
        trigger.touch()
        # Another signal may have shown it to PostgreSQL already: then it is gone by now.
        with contextlib.suppress(FileNotFoundError):
            ownership.give(trigger, self.programs.owner)
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def rejoin(self, primary: Cluster) -> None:
        """Come back as a standby of the one that took over; must not be running.

        What it wrote and nobody got is undone by pg_rewind.
        """
        conninfo = f"host=127.0.0.1 port={primary.port} user={SUPERUSER}"
        self.programs.run(
            "pg_rewind",
            f"--target-pgdata={self.data}",
            f"--source-server={conninfo} dbname=postgres",
            "--no-sync",
            environment={"PGPASSWORD": primary.password},
        )
        self.follow(primary)
        self.start()

    def follow(self, primary: Cluster) -> None:
        """Be a standby of this one from the next start on; all that it has must be of its past."""
        conninfo = (
            f"host=127.0.0.1 port={primary.port} user={SUPERUSER} password={primary.password}"
        )
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = '{conninfo}'\n")
        signal_file = self.data / _STANDBY
        signal_file.touch()
        ownership.give(signal_file, self.programs.owner)

    @property
    def follows(self) -> bool:
        """Is it a standby, or was it one when it was stopped?"""
        return (self.data / _STANDBY).exists()

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace").strip()[-500:]
        return ""

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        atexit.unregister(self.kill)
        if process is None:
            return
        if number is signal.SIGKILL:
            signal_all(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            try:
                process.wait(30)
            finally:
                # Too slow, for us or for who presses Ctrl-C once more: nobody would do it later.
                if process.returncode is None:
                    signal_all(process.pid, signal.SIGKILL)
                    process.wait()
                remove_segment(self.data)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            signal_all(self._process.pid, number)

    def _answers(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Wait until it accepts connections; False when it has given up."""
        deadline = time.monotonic() + START_TIMEOUT
        ready = self.data / "postmaster.pid"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            # The last line of the file is its state (miscadmin.h, LOCK_FILE_LINE_PM_STATUS).
            with contextlib.suppress(OSError, IndexError):
                lines = ready.read_text().splitlines()
                if int(lines[0]) == process.pid and lines[7].strip() in ("ready", "standby"):
                    return True
            time.sleep(0.02)
        return False


def signal_all(postmaster: int, number: signal.Signals) -> None:
    """Send a signal to a postmaster and its children.

    The children lead sessions of their own, and would otherwise finish what they are doing. It is
    stopped meanwhile, so that it starts no others and none of them sees it die.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster, signal.SIGSTOP)
    children = _children(postmaster)
    for pid in (*children, postmaster):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    if number is signal.SIGKILL:
        # They take a moment to die, and their sockets with them.
        deadline = time.monotonic() + KILL_TIMEOUT
        while any(map(_lives, (*children, postmaster))) and time.monotonic() < deadline:
            time.sleep(0.002)


def _lives(pid: int) -> bool:
    """Is a process there, and no zombie?"""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _children(parent: int) -> list[int]:
    """The processes that `parent` has started."""
    listing = Path(f"/proc/{parent}/task/{parent}/children")
    with contextlib.suppress(OSError):
        return [int(pid) for pid in listing.read_text().split()]
    # Where there is no /proc, as on macOS.
    rows = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    pairs = [tuple(map(int, row.split())) for row in rows]
    return [pid for pid, of in pairs if of == parent]


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
