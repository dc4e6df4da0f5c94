"""The pytest plugin: a test-suite behind a proxy, failing when its code begins to pin.

    def test_orders(pyproxy_dsn, assert_no_pins):
        with psycopg.connect(pyproxy_dsn) as connection: ...
        assert_no_pins()

Loaded by its entry point wherever PyProxy is installed, so it imports little and does nothing
until a fixture or an option of its own is used. docs/how-to/fail-tests-on-new-pins.md shows it all.

- `sidecar`    the proxy, a process of its own
- `pins`       one pin, and its words
- `watch`      one test's pins: allowed, known or new
- `baseline`   the file of known pins
- `summary`    the section at the end of the run
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Sequence
from typing import Final

import pytest

from pyproxy.pinning.rules import RULES
from pyproxy.pytest_plugin.baseline import Baseline, BaselineError, write
from pyproxy.pytest_plugin.pins import Pin
from pyproxy.pytest_plugin.sidecar import Sidecar, SidecarError
from pyproxy.pytest_plugin.summary import Collected
from pyproxy.pytest_plugin.watch import ANY, AssertNoPins, Pinned, Watch

__all__ = ["AssertNoPins", "Pinned", "Sidecar"]

DATABASE_VARIABLE: Final = "PYPROXY_TEST_DATABASE"
_NAME: Final = "pyproxy-run"
_WATCH: Final = pytest.StashKey[Watch]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, each also as a setting of the configuration file."""
    group = parser.getgroup("pyproxy", "pins, as Amazon RDS Proxy decides them")
    for name, metavar, meaning in (
        (
            "database",
            "URL",
            f"the PostgreSQL behind the proxy (or ${DATABASE_VARIABLE}; else its own)",
        ),
        ("config", "FILE", "take pool settings, init query and compatibility from this file"),
        ("baseline", "FILE", "pins in this file are known and do not fail"),
    ):
        group.addoption(f"--pyproxy-{name}", metavar=metavar, help=meaning)
        parser.addini(f"pyproxy_{name}", meaning, default="")
    group.addoption(
        "--pyproxy-fail-on-pins",
        action="store_true",
        help="fail every test in which a session is pinned",
    )
    parser.addini("pyproxy_fail_on_pins", "fail every test that pins", type="bool", default=False)
    group.addoption(
        "--pyproxy-write-baseline",
        action="store_true",
        help="let no pin fail, and write the baseline of all pins of this run",
    )
    parser.addini(
        "pyproxy_export",
        "environment variables to set to the proxied DSN when the run starts",
        type="args",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and what holds the state of the run."""
    config.addinivalue_line(
        "markers",
        'allow_pins("PIN-PG-06", ..., reason="..."): pins by these rules (none named: by any) '
        "do not fail the test",
    )
    try:
        config.pluginmanager.register(Run(config), _NAME)
    except BaselineError as error:
        raise pytest.UsageError(f"pyproxy: {error}") from None


class Run:
    """The state of one run, and its hooks."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._sidecar: Sidecar | None = None
        self._collected = Collected()
        self._writes = bool(config.getoption("--pyproxy-write-baseline"))
        path = self._setting("baseline")
        self._baseline_path = config.rootpath / path if path else None
        self._baseline = Baseline()
        if self._writes and self._baseline_path is None:
            raise BaselineError("--pyproxy-write-baseline needs to know which: --pyproxy-baseline")
        if self._baseline_path is not None and not self._writes:
            self._baseline = Baseline.read(self._baseline_path)
        self._strict = bool(
            config.getoption("--pyproxy-fail-on-pins") or config.getini("pyproxy_fail_on_pins")
        )
        # How many warnings of the proxy's a failing test does not have to tell.
        self._heard = 0

    def _setting(self, name: str) -> str:
        return str(
            self._config.getoption(f"--pyproxy-{name}") or self._config.getini(f"pyproxy_{name}")
        )

    # -- the proxy -----------------------------------------------------------------------------

    def sidecar(self) -> Sidecar:
        """The proxy of this process; starts it the first time. Raises SidecarError."""
        if self._sidecar is None:
            database = (
                self._config.getoption("--pyproxy-database")
                or os.environ.get(DATABASE_VARIABLE)
                or self._config.getini("pyproxy_database")
            )
            config = self._setting("config")
            path = str(self._config.rootpath / config) if config else ""
            self._sidecar = Sidecar.start(str(database), path)
        return self._sidecar

    def pins(self) -> Sequence[Pin]:
        """All pins so far; none, as long as nothing has started the proxy."""
        return [] if self._sidecar is None else self._sidecar.pins()

    def warnings(self) -> Sequence[str]:
        """What the proxy has warned of so far, beside pins."""
        return [] if self._sidecar is None else self._sidecar.warnings()

    @pytest.hookimpl
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Tell the application where its database is, before its modules are imported."""
        names: list[str] = self._config.getini("pyproxy_export")
        # The controller of xdist runs no test: its workers have a proxy each.
        if names and not self._config.pluginmanager.has_plugin("dsession"):
            try:
                dsn = self.sidecar().dsn()
            except SidecarError as error:
                raise pytest.UsageError(f"pyproxy: {error}") from None
            os.environ.update(dict.fromkeys(names, dsn))

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        """Stop the proxy, after the last fixture."""
        if self._sidecar is not None:
            self._sidecar.stop()
            self._sidecar = None

    # -- one test ------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse a mark that names no rule, or gives no reason."""
        for item in items:
            for mark in item.iter_markers("allow_pins"):
                unknown = [str(rule) for rule in mark.args if rule not in RULES]
                if unknown or set(mark.kwargs) != {"reason"}:
                    what = f"there is no rule {', '.join(unknown)}" if unknown else "say why"
                    raise pytest.UsageError(
                        f'{item.nodeid}: allow_pins("PIN-PG-06", reason="..."): {what}'
                    )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch from before the first fixture on."""
        allowed = {
            rule: str(mark.kwargs["reason"])
            for mark in item.iter_markers("allow_pins")
            for rule in mark.args or (ANY,)
        }
        strict = self._strict or "assert_no_pins" in getattr(item, "fixturenames", ())
        item.stash[_WATCH] = Watch(
            self.pins, allowed, self._baseline, strict=strict, lenient=self._writes
        )
        self._heard = len(self.warnings())
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """The test has passed: it fails if it has pinned."""
        result = yield
        _fail_if_pinned(item.stash[_WATCH])
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """So do the fixtures: many a pool resets a connection that is given back."""
        try:
            result = yield
            _fail_if_pinned(item.stash[_WATCH])
            return result
        finally:
            for pin in item.stash[_WATCH].history():
                item.user_properties.append(
                    (f"pyproxy_pin_{pin['verdict']}", f"{pin['rule']} {pin['digest']}")
                )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Pins travel with the report, from a worker to the controller too."""
        report = yield
        vars(report)["pyproxy_pins"] = item.stash[_WATCH].tell()
        if self._sidecar is not None and not self._sidecar.running:
            report.sections.append(("pyproxy has ended by itself", self._sidecar.log))
        elif report.failed and (said := dict.fromkeys(self.warnings()[self._heard :])):
            # A database that cannot be reached is a timeout to the client, and told here only.
            report.sections.append(("pyproxy warned", "\n".join(said)))
        return report

    # -- the run -------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the pins of all tests, here and in workers."""
        self._collected.add(report.nodeid, getattr(report, "pyproxy_pins", ()))

    @pytest.hookimpl
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        """List the pins, and what of the baseline has not come true."""
        lines = list(self._collected.lines(shutil.get_terminal_size().columns))
        for rule, digest in self._collected.pins():
            self._baseline.knows(rule, digest)
        unseen = self._baseline.unseen()
        if unseen:
            lines += ["", f"{self._baseline_path}: not seen in this run:"]
            lines += [f"  {rule}  {digest}" for rule, digest in unseen]
        if self._writes and self._baseline_path is not None:
            if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                count = write(self._baseline_path, self._collected.pins())
                lines += ["", f"{self._baseline_path}: written, known pins: {count}"]
            else:
                # What a run that ran no test, or not all, has not seen is not gone.
                lines += ["", f"{self._baseline_path}: not written: the tests did not all run"]
        if lines:
            terminalreporter.section("pins (pyproxy)")
            for line in lines:
                terminalreporter.line(line)


def _fail_if_pinned(watch: Watch) -> None:
    __tracebackhide__ = True
    told = ""
    if watch.strict:
        try:
            watch.check()
        except Pinned as pinned:
            told = str(pinned)
    if told:
        pytest.fail(told, pytrace=False)


def _run(config: pytest.Config) -> Run:
    run = config.pluginmanager.get_plugin(_NAME)
    assert isinstance(run, Run)
    return run


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pyproxy_server(pytestconfig: pytest.Config) -> Sidecar:
    """The proxy: `dsn()` through it, `place` with the parts of that and the way past it."""
    try:
        return _run(pytestconfig).sidecar()
    except SidecarError as error:
        why = str(error)
    pytest.fail(f"pyproxy: {why}", pytrace=False)


@pytest.fixture(scope="session")
def pyproxy_dsn(pyproxy_server: Sidecar) -> str:
    """postgresql://user:password@host:port/database, through the proxy."""
    return pyproxy_server.dsn()


@pytest.fixture(scope="session")
def pyproxy_direct_dsn(pyproxy_server: Sidecar) -> str:
    """The same database past the proxy: for migrations, and for what has to be pinned."""
    return pyproxy_server.place.direct_dsn


@pytest.fixture
def assert_no_pins(request: pytest.FixtureRequest) -> AssertNoPins:
    """Fail the test if it pins: when called, at the end of a `with` block, and at its end."""
    return AssertNoPins(request.node.stash[_WATCH])
