"""The configuration: what every key is called, means, and may be.

Keys are the AWS API's names in snake case, durations are in seconds, as AWS has them. What one key
may be stands beside it; what keys may be together is in `config_checks`; `config_file` reads them.
The reference page is written from here by `config_reference`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from pyproxy.binder import Problem, key
from pyproxy.logs import printable
from pyproxy.unusable import Unusable

# A worker's number has to fit in seven bits of a cancel key, and in few of the bits of an id.
MOST_WORKERS: Final = 64
# Of the times that AWS has not, in seconds: more means something else, and far more no clock takes.
DAY: Final = 86_400
EXTENSIONS: Final = {
    "cancel_requests": "sends BackendKeyData and honours CancelRequest",
    "startup_parameters": "accepts startup `options` and unlisted parameters; they pin",
    "direct_tls": "accepts PostgreSQL 17's direct TLS",
    "channel_binding": "offers SCRAM-SHA-256-PLUS",
    "leak_guard": "looks at every connection that comes back unpinned; resets one with state left",
}


class ConfigError(Unusable):
    """A configuration that can't be used; one problem per line, each with its place."""

    speaker: ClassVar[str] = ""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.problems: Final = tuple(sorted(problems))
        # A key may be anything, and must not command a terminal.
        super().__init__("\n".join(printable(f"{name}:{problem}") for problem in self.problems))


@dataclass(frozen=True)
class AuthConfig:
    """Who may log in: a secret of `secrets`, and how its user proves to be it."""

    secret_arn: str = key(doc="The ARN or the name of the secret.")
    auth_scheme: str = key("SECRETS", "Where the credentials are.", choices=("SECRETS",))
    iam_auth: str = key(
        "DISABLED", "REQUIRED: only an IAM token logs in.", choices=("DISABLED", "REQUIRED")
    )
    client_password_auth_type: str = key(
        "POSTGRES_SCRAM_SHA_256",
        "How a password is proven.",
        choices=("POSTGRES_SCRAM_SHA_256", "POSTGRES_MD5"),
    )


@dataclass(frozen=True)
class ProxyConfig:
    """The proxy as AWS knows it."""

    db_proxy_name: str = key("pyproxy", "The proxy's name, in metrics and pages.")
    engine_family: str = key("POSTGRESQL", "The protocol.", choices=("POSTGRESQL",))
    resource_id: str = key(
        "prx-0123456789abcdef0", "The `prx-…` of the proxy's ARN, for IAM policies."
    )
    region: str = key("us-east-1", "The region that IAM tokens are signed for.")
    account_id: str = key("123456789012", "The account, for IAM policies.")
    require_tls: bool = key(False, "Refuse clients that come in clear.")
    idle_client_timeout: float = key(
        1800.0, "Seconds after which an idle client is closed.", low=1, high=28_800
    )
    debug_logging: bool = key(
        False, "Log connections coming, going and being released too, for 24 hours."
    )
    default_auth_scheme: str = key(
        "NONE",
        "IAM_AUTH: users without a secret log in by IAM, at the database too.",
        choices=("NONE", "IAM_AUTH"),
    )
    auth: tuple[AuthConfig, ...] = key((), "Who may log in.")
    max_client_connections: int = key(
        0, "Ours: clients at the same time; more get E-PG-14. 0: no limit.", low=0
    )
    connection_rate_limit: int = key(
        0, "Ours: new clients per second; more get E-PG-15. 0: no limit.", low=0
    )
    iam_connection_rate_limit: int = key(
        0, "Ours: new clients per second that log in by IAM; more get E-PG-13. 0: no limit.", low=0
    )
    drain_timeout: float = key(
        25.0, "Ours: seconds that transactions have to finish after SIGTERM.", low=0, high=DAY
    )


@dataclass(frozen=True)
class TlsConfig:
    """An endpoint's certificate. Empty: one by a development authority, kept in `state_dir`."""

    certificate: str = key("", "PEM file with the certificate and its chain.")
    private_key: str = key("", "PEM file with its key, without passphrase.")


@dataclass(frozen=True)
class EndpointConfig:
    """Where clients connect to."""

    db_proxy_endpoint_name: str = key("default", "The endpoint's name, in logs and metrics.")
    host: str = key("127.0.0.1", "The address to listen on; `0.0.0.0` for all.")
    port: int = key(6432, "The port to listen on.", low=0, high=65_535)
    public_host: str = key(
        "",
        "The name that clients sign tokens for, perhaps with a port; a development certificate"
        " has it too. Empty: any of its own.",
    )
    target_role: str = key(
        "READ_WRITE",
        "READ_ONLY: goes to readers only; not for the endpoint `default`.",
        choices=("READ_WRITE", "READ_ONLY"),
    )
    tls: TlsConfig = key(TlsConfig, "The certificate shown to clients.")


@dataclass(frozen=True)
class ConnectionPoolConfig:
    """How many database connections there may be, and what they are like."""

    max_connections_percent: int = key(
        100,
        "Percent of the target's own `max_connections` that the proxy may use.",
        low=1,
        high=100,
    )
    max_idle_connections_percent: int | None = key(
        None,
        "Percent of it that may stay open though idle for 5 minutes. Empty: half of"
        " `max_connections_percent`.",
        low=0,
        high=100,
    )
    connection_borrow_timeout: float = key(
        120.0,
        "Seconds that a client waits for a database connection; 0 refuses at once.",
        low=0,
        high=300,
    )
    session_pinning_filters: tuple[str, ...] = key(
        (), "AWS has none for PostgreSQL; kept for its name.", choices=("EXCLUDE_VARIABLE_SETS",)
    )
    init_query: str = key("", "SQL that each new database connection runs first.")

    @property
    def idle_percent(self) -> int:
        """`max_idle_connections_percent`, or what stands for it (S-03); never less than 1 of 1."""
        given = self.max_idle_connections_percent
        return (self.max_connections_percent + 1) // 2 if given is None else given


@dataclass(frozen=True)
class TargetConfig:
    """A database."""

    id: str = key(doc="The target's name, in logs and metrics.")
    host: str = key("127.0.0.1", "Its address, or the absolute path of its Unix socket's folder.")
    port: int = key(5432, "Its port.", low=1, high=65_535)
    tls: str = key(
        "prefer",
        "As libpq's sslmode.",
        choices=("disable", "prefer", "require", "verify-ca", "verify-full"),
    )
    root_certificate: str = key("", "Ours: PEM file of the authorities to believe.")


@dataclass(frozen=True)
class TargetGroupConfig:
    """The databases behind the proxy."""

    connection_pool_config: ConnectionPoolConfig = key(
        ConnectionPoolConfig, "Its database connections."
    )
    targets: tuple[TargetConfig, ...] = key((), "The databases; the first one is the writer.")


@dataclass(frozen=True)
class SecretsConfig:
    """Where the passwords are."""

    provider: str = key(
        "file",
        "file: a YAML file; environment: variables; aws: Secrets Manager.",
        choices=("file", "environment", "aws"),
    )
    file: str = key("secrets.yaml", "For `file`: `{<ARN or name>: {username: …, password: …}}`.")
    endpoint_url: str = key("", "For `aws`: another Secrets Manager, such as LocalStack or moto.")
    refresh_interval: float = key(
        5.0, "Seconds between two looks for new passwords.", low=0.1, high=DAY
    )


@dataclass(frozen=True)
class AccessKeyConfig:
    """An access key that may sign IAM tokens, and what it may do."""

    access_key_id: str = key(doc="Its id.")
    secret_access_key: str = key(doc="Its secret.", secret=True)
    session_token: str = key("", "For temporary credentials.", secret=True)
    policies: tuple[object, ...] = key((), "IAM policy documents; none allow nothing.")


@dataclass(frozen=True)
class RoleCredentialsConfig:
    """Ours: what the proxy signs its own tokens for databases with; in AWS its role does."""

    access_key_id: str = key("", "Empty: AWS's credential chain.")
    secret_access_key: str = key("", "Its secret.", secret=True)
    session_token: str = key("", "For temporary credentials.", secret=True)


@dataclass(frozen=True)
class IamConfig:
    """Who may sign IAM tokens."""

    access_keys: tuple[AccessKeyConfig, ...] = key((), "The keys.")
    endpoint_url: str = key("", "Ours: a moto server whose IAM and STS are asked for keys.")
    role_credentials: RoleCredentialsConfig = key(
        RoleCredentialsConfig, "The proxy's own, for users without a secret (IAM_AUTH)."
    )


@dataclass(frozen=True)
class FailoverConfig:
    """How a dead primary is noticed and replaced."""

    probe_interval: float = key(
        1.0, "Seconds between two probes of a target; a tenth while degraded.", low=0.05, high=DAY
    )
    failure_threshold: int = key(3, "Failed probes after which a target is down.", low=1)
    promote: bool = key(
        True,
        "Promote the standby ourselves, also after a restart, by what `state_dir` remembers; "
        "false: follow whoever does.",
    )
    probe_timeout: float = key(
        1.0, "Seconds that a target may take to answer a probe.", low=0.05, high=DAY
    )
    maximum_lag_on_failover: int = key(
        1 << 20, "Bytes of WAL that a standby may lack and still be promoted.", low=0
    )
    patroni: tuple[str, ...] = key(
        (), "URLs of Patroni's REST API, asked in turn: it promotes, its leader is the writer."
    )


@dataclass(frozen=True)
class MonitoringConfig:
    """The user that probes the targets."""

    user: str = key("rdsproxyadmin", "Its name.")
    secret: str = key(
        "",
        "Its secret, as in `secrets`. Empty: several targets are probed as the first user of "
        "`proxy.auth` that has one, a single target is not probed.",
    )


@dataclass(frozen=True)
class HttpConfig:
    """Metrics, health, the API and the page."""

    host: str = key("127.0.0.1", "The address to listen on.")
    port: int = key(8432, "The port to listen on.", low=0, high=65_535)


_PIN: Final = ("pin", "no_pin")


@dataclass(frozen=True)
class CompatibilityConfig:
    """Where AWS's documents are silent or disagree: which way to take."""

    set_local: str = key(
        "pin",
        "Do `SET LOCAL`, `SET CONSTRAINTS` and `SET TRANSACTION` pin? (PIN-PG-11, 14)",
        choices=_PIN,
    )
    set_config_local: str = key(
        "no_pin", "Does `set_config(…, true)` pin? (PIN-PG-12)", choices=_PIN
    )
    begin_isolation: str = key(
        "no_pin", "Does `BEGIN` with an isolation level pin? (PIN-PG-14b)", choices=_PIN
    )
    declare_cursor: str = key(
        "pin", "Does a cursor without `WITH HOLD` pin? (PIN-PG-04)", choices=_PIN
    )
    select_into_temp: str = key("pin", "Does `SELECT … INTO TEMP` pin? (PIN-PG-21)", choices=_PIN)
    create_in_pg_temp: str = key(
        "pin", "Does creating in the schema `pg_temp` pin? (PIN-PG-28)", choices=_PIN
    )
    advisory_unlock: str = key("pin", "Does `pg_advisory_unlock()` pin? (PIN-PG-22)", choices=_PIN)
    unlisten: str = key("no_pin", "Does `UNLISTEN` pin? (PIN-PG-18)", choices=_PIN)
    notify: str = key("no_pin", "Do `NOTIFY` and `pg_notify()` pin? (PIN-PG-17)", choices=_PIN)
    currval: str = key("no_pin", "Do `currval()` and `lastval()` pin? (PIN-PG-19)", choices=_PIN)
    function_call: str = key("pin", "Does the FunctionCall message pin? (PIN-PG-33)", choices=_PIN)
    named_parse: str = key(
        "no_pin", "Does a named protocol-level statement pin? (PS-04)", choices=_PIN
    )
    preset: str = key(
        "",
        "legacy_2023: every Parse pins, as until November 2023. (PS-01)",
        choices=("", "legacy_2023"),
    )
    extended_query_metrics: bool = key(
        False, "Count the extended protocol in QueryRequests and its latency too (M-31)."
    )


@dataclass(frozen=True)
class Config:
    """Everything."""

    proxy: ProxyConfig = key(ProxyConfig, "The proxy as AWS knows it.")
    endpoints: tuple[EndpointConfig, ...] = key((EndpointConfig(),), "Where clients connect to.")
    target_group: TargetGroupConfig = key(TargetGroupConfig, "The databases.")
    secrets: SecretsConfig = key(SecretsConfig, "Where the passwords are.")
    iam: IamConfig = key(IamConfig, "Who may sign IAM tokens.")
    failover: FailoverConfig = key(FailoverConfig, "How a dead primary is replaced.")
    monitoring: MonitoringConfig = key(MonitoringConfig, "The user that probes the targets.")
    http: HttpConfig = key(HttpConfig, "Metrics, health, the API and the page.")
    pool_mode: str = key(
        "transaction",
        "session: a client keeps its database connection until it leaves.",
        choices=("transaction", "session"),
    )
    state_dir: str = key(
        "",
        "Where what must last is kept: the development authority, and who the writer was. Empty: "
        "a folder of the user's.",
    )
    workers: int = key(
        1, "Processes that serve clients; more than one needs Linux.", low=1, high=MOST_WORKERS
    )
    extensions: tuple[str, ...] = key(
        (), "What RDS Proxy hasn't, by name.", choices=tuple(EXTENSIONS)
    )
    compatibility: CompatibilityConfig = key(
        CompatibilityConfig, "Where AWS's documents are silent."
    )

    def changes_to(self, new: Config) -> Changes:
        """What a reload would change."""
        return Changes(tuple(_differences(self, new, "")))

    def reloaded(self, new: Config) -> Config:
        """As a running proxy is after a reload: what needs a restart stays as it is."""
        kept = {name: getattr(self, name) for name in _AT_START}
        targets = dataclasses.replace(new.target_group, targets=self.target_group.targets)
        return dataclasses.replace(new, target_group=targets, **kept)


# Sections that are read once, at the start; and `target_group.targets`.
_AT_START: Final = (
    "endpoints",
    "secrets",
    "http",
    "state_dir",
    "pool_mode",
    "compatibility",
    "workers",
    "failover",
    "monitoring",
)


@dataclass(frozen=True)
class Changes:
    """The keys that differ between two configurations."""

    paths: tuple[str, ...]

    @property
    def sections(self) -> frozenset[str]:
        """The sections that have changed."""
        return frozenset(path.partition(".")[0] for path in self.paths)

    @property
    def need_restart(self) -> tuple[str, ...]:
        """Those that a running proxy does not take over."""
        at_start = (*_AT_START, "target_group.targets")
        return tuple(path for path in self.paths if path.startswith(at_start))

    @property
    def taken_over(self) -> tuple[str, ...]:
        """The others."""
        later = self.need_restart
        return tuple(path for path in self.paths if path not in later)

    def summary(self) -> str:
        """In words, for the log."""
        if not self.paths:
            return "nothing has changed"
        parts = []
        if self.taken_over:
            parts.append("changed: " + ", ".join(self.taken_over))
        if self.need_restart:
            parts.append("needs a restart: " + ", ".join(self.need_restart))
        return "; ".join(parts)


def _differences(old: object, new: object, path: str) -> Iterable[str]:
    if old == new:
        return
    if not dataclasses.is_dataclass(old):
        yield path
        return
    for field in dataclasses.fields(old):
        inner = f"{path}.{field.name}" if path else field.name
        yield from _differences(getattr(old, field.name), getattr(new, field.name), inner)
