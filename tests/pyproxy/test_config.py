"""The configuration: what is right is read, what is wrong is told with its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy import config_reference
from pyproxy.config import Config, ConfigError
from pyproxy.config_file import default_state_dir, load, parse

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))
SMALLEST = "{proxy: {auth: [{secret_arn: app}]}, target_group: {targets: [{id: a}]}"


def read(text: str, **environment: str) -> Config:
    return parse(text, name="p.yaml", environment=environment, folder=Path("/etc/pyproxy"))


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_can_be_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(file, {"PYPROXY_TARGET_HOST": "db", "AWS_SECRET_ACCESS_KEY": "secret"})


def test_the_full_example_names_every_key() -> None:
    """A key that no example shows is a key that nobody finds."""
    text = (ROOT / "config" / "pyproxy.yaml").read_text()
    missing = [path for path in config_reference.paths() if path.rsplit(".", 1)[-1] not in text]
    assert not missing


def test_the_defaults_are_the_contracts() -> None:
    config = read(SMALLEST + "}")
    assert config.proxy.db_proxy_name == "pyproxy"
    assert config.proxy.idle_client_timeout == 1800
    assert (config.endpoints[0].host, config.endpoints[0].port) == ("127.0.0.1", 6432)
    pool = config.target_group.connection_pool_config
    assert pool.max_connections_percent == 100
    assert pool.idle_percent == 50
    assert pool.connection_borrow_timeout == 120
    assert (config.http.host, config.http.port) == ("127.0.0.1", 8432)
    assert config.pool_mode == "transaction"
    assert config.compatibility.set_local == "pin"
    assert config.failover.promote
    assert not config.extensions


def test_paths_are_relative_to_the_file() -> None:
    config = read(SMALLEST + ", secrets: {file: s.yaml}, state_dir: state}")
    assert config.secrets.file == "/etc/pyproxy/s.yaml"
    assert config.state_dir == "/etc/pyproxy/state"


def test_the_state_folder_is_the_users() -> None:
    assert default_state_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/pyproxy")
    assert default_state_dir({}) == Path.home() / ".local" / "state" / "pyproxy"


WRONG = [
    (
        "proxy:\n  db_proxy_nam: x",
        "p.yaml:2:3: proxy.db_proxy_nam: unknown key; did you mean db_proxy_name?",
    ),
    ("nonsense: 1", "p.yaml:1:1: nonsense: unknown key; there are proxy, endpoints, target_group"),
    (
        "proxy: {idle_client_timeout: soon}",
        "p.yaml:1:30: proxy.idle_client_timeout: this is not a number from 1 to 28800",
    ),
    ("http:\n  port: 99999", "p.yaml:2:9: http.port: out of range: it must be from 0 to 65535"),
    ("http: {port: 1.5}", "http.port: this is not a whole number from 0 to 65535"),
    ('"a\\e[31m\\nb": 1', r"p.yaml:1:1: a\x1b[31m\nb: unknown key"),
    (f"http: {{port: {'9' * 400}}}", "http.port: out of range: it must be from 0 to 65535"),
    (f"http: {{port: {'9' * 5000}}}", "http.port: this is not a whole number from 0 to 65535"),
    *(
        (f"{path.replace('.', ': {')}: 1e300}}", f"{path}: out of range: it must be from")
        for path in (
            *("proxy.drain_timeout", "secrets.refresh_interval"),
            *("failover.probe_interval", "failover.probe_timeout"),
        )
    ),
    ("http: {port: .nan}", "http.port: this is not a whole number"),
    ("proxy: {require_tls: maybe}", "proxy.require_tls: this is not true or false"),
    ("proxy: [1]", "p.yaml:1:8: proxy: a list is not a mapping of keys to values"),
    ("proxy: {auth: {a: b}}", "proxy.auth: a mapping is not a list"),
    ("proxy: {db_proxy_name: [a]}", "proxy.db_proxy_name: a list is not text"),
    (
        "pool_mode: sesion",
        "pool_mode: it must be one of transaction, session (did you mean session?)",
    ),
    (
        "pool_mode: session\npool_mode: session",
        "p.yaml:2:1: pool_mode: given twice, first in line 1",
    ),
    ("proxy: {auth: [{iam_auth: DISABLED}]}", "proxy.auth[0]: the key secret_arn is missing"),
    ("extensions: [cancel]", "extensions[0]: it must be one of cancel_requests"),
    ("proxy: {db_proxy_name: ${NAME}}", "p.yaml:1:24: proxy.db_proxy_name: the environment"),
    (
        "proxy: {db_proxy_name: '${NAME}'}",
        "proxy.db_proxy_name: the environment variable NAME is not set; set it, or give a default",
    ),
    ("proxy: 'x", "not YAML: "),
    ("{" * 3000, "not YAML"),
    ("proxy:\n\t- a", "p.yaml:2:1: not YAML: "),
    (SMALLEST + ", workers: 65}", "workers: out of range: it must be from 1 to 64"),
    (
        SMALLEST.replace("]}, target", "], connection_rate_limit: 5}, target") + ", workers: 2}",
        "proxy.connection_rate_limit: it needs workers: 1, for it is counted in one process",
    ),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[row[0][:40] for row in WRONG])
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    assert any(told in problem for problem in problems(text)), problems(text)


_NAMES = "it must be letters, digits and single hyphens, at most 63, beginning with a letter"
TOGETHER = [
    ("{}", "proxy.auth: nobody could log in: add {secret_arn: …}"),
    ("{}", "target_group.targets: there is no database to connect to"),
    (SMALLEST + ", endpoints: []}", "endpoints: there is no endpoint to listen on"),
    (
        SMALLEST + ", endpoints: [{port: 1}, {port: 2}]}",
        "endpoints[1].db_proxy_endpoint_name: default is the name of two endpoints",
    ),
    (
        SMALLEST + ", endpoints: [{port: 1}, {port: 1, db_proxy_endpoint_name: b}]}",
        "endpoints[1].port: endpoint default listens on 1 already",
    ),
    (SMALLEST + ", endpoints: [{port: 8432}]}", "endpoints[0].port: http listens on 8432 already"),
    (
        SMALLEST + ", endpoints: [{tls: {certificate: a}}]}",
        "endpoints[0].tls: certificate and private_key are given together, or neither",
    ),
    (
        SMALLEST + ", endpoints: [{target_role: READ_ONLY}]}",
        "endpoints[0].target_role: READ_ONLY needs a second target, the reader",
    ),
    (
        SMALLEST + ", endpoints: [{db_proxy_endpoint_name: ''}]}",
        "endpoints[0].db_proxy_endpoint_name: it must not be empty",
    ),
    (
        "{proxy: {auth: [{secret_arn: a}, {secret_arn: a}]}, target_group: {targets: [{id: a}]}}",
        "proxy.auth[1].secret_arn: the same secret as in auth[0]",
    ),
    (
        "{proxy: {auth: [{secret_arn: ''}]}, target_group: {targets: [{id: ''}, {id: b}, {id: b}]}}",
        "target_group.targets[2].id: b is also the id of targets[1]",
    ),
    ("target_group: {targets: [{id: ''}]}", "target_group.targets[0].id: it must not be empty"),
    ("target_group: {targets: [{id: a, host: ''}]}", "targets[0].host: it must not be empty"),
    ("target_group: {targets: [{id: a, host: 'db:5432'}]}", "targets[0].host: the port has a key"),
    (
        "{proxy: {auth: [{secret_arn: a}]}, target_group: {targets: [{id: a, tls: verify-ca}]}}",
        "target_group.targets[0].tls: verify-ca needs root_certificate; or use verify-full",
    ),
    (
        "{proxy: {auth: [{secret_arn: a, iam_auth: REQUIRED}]}, target_group: {targets: [{id: a}]}}",
        "proxy.auth[0].iam_auth: nobody could sign a token",
    ),
    (
        SMALLEST + ", iam: {access_keys: [{access_key_id: A, secret_access_key: s,"
        " policies: [{Statement: [{Effect: Maybe}]}]}]}}",
        "iam.access_keys[0].policies[0]: ",
    ),
    (
        SMALLEST + ", iam: {access_keys: [{access_key_id: A, secret_access_key: s},"
        " {access_key_id: A, secret_access_key: s}]}}",
        "iam.access_keys[1].access_key_id: A is given twice",
    ),
    (
        SMALLEST + ", iam: {access_keys: [{access_key_id: A, secret_access_key: '${UNSET:-}'}]}}",
        "iam.access_keys[0].secret_access_key: it must not be empty: anybody could sign with it",
    ),
    (
        SMALLEST + ", iam: {access_keys: [{access_key_id: '', secret_access_key: s}]}}",
        "iam.access_keys[0].access_key_id: it must not be empty",
    ),
    (
        (
            "{proxy: {auth: [{secret_arn: a}]}, target_group: {targets: [{id: a}],"
            " connection_pool_config: {max_connections_percent: 10,"
            " max_idle_connections_percent: 20}}}"
        ),
        "max_idle_connections_percent: it must not be more than max_connections_percent",
    ),
    (
        (
            "{proxy: {auth: [{secret_arn: a}]}, target_group: {targets: [{id: a}],"
            " connection_pool_config: {session_pinning_filters: [EXCLUDE_VARIABLE_SETS]}}}"
        ),
        "RDS Proxy has filters for MySQL only",
    ),
    (SMALLEST + ", secrets: {file: ''}}", "secrets.file: it must not be empty"),
    (
        SMALLEST + ", secrets: {endpoint_url: 'http://x'}}",
        "secrets.endpoint_url: it means nothing to provider file",
    ),
    *(
        (
            f"{SMALLEST}, secrets: {{provider: aws, endpoint_url: '{url}'}}}}",
            "secrets.endpoint_url: it is no URL: give http://host:4566, or https",
        )
        for url in ("nosuch", "http://", "ftp://x", "http://a:b", "http://a b")
    ),
    (
        SMALLEST + ", iam: {endpoint_url: nosuch}}",
        "iam.endpoint_url: it is no URL: give http://host:5000, or https",
    ),
    (
        SMALLEST + ", failover: {patroni: ['http://']}}",
        "failover.patroni[0]: it is no URL: give http://host:8008, or https",
    ),
    (SMALLEST + ", http: {host: ''}}", "http.host: it must not be empty: 0.0.0.0 is all addresses"),
    (
        SMALLEST + ", endpoints: [{host: ''}]}",
        "endpoints[0].host: it must not be empty: 0.0.0.0 is all addresses",
    ),
    (
        SMALLEST + ", endpoints: [{host: 'a b'}]}",
        "endpoints[0].host: it is neither an address nor a host name",
    ),
    # S-16.
    (
        SMALLEST.replace("{id: a}", "{id: a}, {id: b, port: 1}")
        + ", endpoints: [{target_role: READ_ONLY}]}",
        "endpoints[0].target_role: the default endpoint is READ_WRITE; give this one a name",
    ),
    (
        SMALLEST
        + ", endpoints: ["
        + ", ".join(f"{{db_proxy_endpoint_name: e{n}, port: {n + 1}}}" for n in range(21))
        + "]}",
        "endpoints[20]: RDS Proxy has no more than 20 endpoints beside the default one",
    ),
    # AU-01.
    (
        SMALLEST.replace(
            "{secret_arn: app}", ", ".join(f"{{secret_arn: s{n}}}" for n in range(201))
        )
        + "}",
        "proxy.auth[200]: RDS Proxy takes no more than 200 secrets",
    ),
    # API-01.
    *(
        (f"{SMALLEST}, endpoints: [{{db_proxy_endpoint_name: {name!r}}}]}}", f"_name: {_NAMES}")
        for name in ("a] [clientConnection=7] x", "1a", "a_b", "a--b", "a-", "-a", "ä", "a" * 64)
    ),
    (
        SMALLEST.replace("{auth:", "{db_proxy_name: my proxy, auth:") + "}",
        f"proxy.db_proxy_name: {_NAMES}",
    ),
    (
        SMALLEST.replace("{id: a}", "{id: 'a]'}") + "}",
        "target_group.targets[0].id: it must be letters, digits and any of . _ : -",
    ),
    (
        SMALLEST.replace("{id: a}", "{id: a}, {id: b}") + "}",
        "target_group.targets[1]: the same database as targets[0]",
    ),
    *(
        (
            SMALLEST
            + f", endpoints: [{{host: '{one}', port: 1}}, {{host: '{other}', port: 1, "
            + "db_proxy_endpoint_name: b}]}",
            "endpoints[1].port: endpoint default listens on 1 already",
        )
        for one, other in (
            ("0.0.0.0", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("::", "::1"),
            ("localhost", "::"),
        )
    ),
    (
        SMALLEST + ", endpoints: [{host: 0.0.0.0, port: 8432}]}",
        "endpoints[0].port: http listens on 8432 already",
    ),
    (
        SMALLEST + ", extensions: [direct_tls, direct_tls]}",
        "extensions[1]: direct_tls is given twice",
    ),
    *(
        (
            SMALLEST + f", endpoints: [{{public_host: '{name}'}}]}}",
            "endpoints[0].public_host: it is no host name or address, perhaps with a port: proxy.",
        )
        for name in ("http://x", "a b", "bücher.example", "x:0", "x:65536", f"x:{'9' * 5000}")
    ),
    (SMALLEST + ", state_dir: ~nosuchuser/x}", "state_dir: whose home ~ stands for here is not"),
    (SMALLEST + ", endpoints: [{host: bücher}]}", "endpoints[0].host: it is neither an address"),
    (SMALLEST + ", http: {host: 'a b'}}", "http.host: it is neither an address nor a host name"),
    (SMALLEST + ", http: {host: a..b}}", "http.host: it is neither an address nor a host name"),
    *(
        (
            SMALLEST.replace("{id: a}", f"{{id: a, host: '{host}'}}") + "}",
            "target_group.targets[0].host: it is neither an address, a host name nor the absolute",
        )
        for host in ("db..example.com", "db example", "[::1]", "x" * 64)
    ),
    (
        "{proxy: {auth: [{secret_arn: a}]}, target_group: {targets: [{id: a, host: var/run}]}}",
        "target_group.targets[0].host: it is neither an address, a host name nor the absolute path of",
    ),
]


@pytest.mark.parametrize(("text", "told"), TOGETHER, ids=[row[1][:60] for row in TOGETHER])
def test_what_may_not_be_together_is_told(text: str, told: str) -> None:
    assert any(told in problem for problem in problems(text)), problems(text)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    told = problems("proxy: {x: 1}\nhttp: {port: a}\nworkers: b")
    assert [line.split(":")[1] for line in told] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("keys", "idle"),
    [
        ("max_connections_percent: 10", 5),
        ("max_connections_percent: 1", 1),
        ("max_connections_percent: 10, max_idle_connections_percent:", 5),
        ("max_connections_percent: 10, max_idle_connections_percent: '${UNSET:-}'", 5),
        ("max_connections_percent: 10, max_idle_connections_percent: 0", 0),
    ],
)
def test_half_of_the_connections_may_be_idle_unless_it_is_told(keys: str, idle: int) -> None:
    """S-03: what is empty is not told."""
    pool = f"connection_pool_config: {{{keys}}}"
    config = read(SMALLEST[:-1] + f", {pool}}}}}")
    assert config.target_group.connection_pool_config.idle_percent == idle


def test_what_may_be_empty_is_still_what_it_has_to_be() -> None:
    path = "target_group.connection_pool_config.max_idle_connections_percent"
    pool = "connection_pool_config: {max_idle_connections_percent: %s}}}"
    for wrong, why in (
        ("half", "this is not a whole number from 0 to 100"),
        ("101", "out of range: it must be from 0 to 100"),
        ("[1]", "a list is not a whole number"),
        ("'${UNSET}'", "the environment variable UNSET is not set"),
    ):
        (told,) = problems(SMALLEST[:-1] + ", " + pool % wrong)
        assert f"{path}: {why}" in told


def test_the_environment_is_read_into_values() -> None:
    config = read(
        SMALLEST + ", http: {host: ${HOST}, port: ${PORT:-80}}, state_dir: '/x$${HOME}'}",
        HOST="example.org",
    )
    assert (config.http.host, config.http.port) == ("example.org", 80)
    assert config.state_dir == "/x${HOME}"


def test_an_empty_variable_takes_the_default() -> None:
    """As in a shell, and in compose files that pass variables on."""
    assert read(SMALLEST + ", http: {port: '${PORT:-81}'}}", PORT="").http.port == 81
    assert read(SMALLEST + ", state_dir: '/a${EMPTY}'}", EMPTY="").state_dir == "/a"


def test_empty_sections_are_their_defaults() -> None:
    config = read(
        "proxy: {auth: [{secret_arn: a}]}\ntarget_group: {targets: [{id: a}]}\nhttp:\niam:"
    )
    assert config.http.port == 8432


def test_a_secret_is_in_no_error_and_no_representation() -> None:
    """Invariant 9."""
    text = "iam: {access_keys: [{access_key_id: A, secret_access_key: [hunter2]}]}"
    assert "hunter2" not in "".join(problems(text))
    config = read(
        SMALLEST + ", iam: {access_keys: [{access_key_id: A, secret_access_key: hunter2}]}}"
    )
    assert "hunter2" not in repr(config)


def test_policies_are_json_as_it_is() -> None:
    config = read(
        SMALLEST + ", iam: {access_keys: [{access_key_id: A, secret_access_key: s, policies:"
        " [{Version: 2012-10-17, Statement: [{Effect: Allow, Action: 'rds-db:connect',"
        " Resource: '*', Sid: ~}]}]}]}}"
    )
    (policy,) = config.iam.access_keys[0].policies
    assert isinstance(policy, dict)
    assert policy["Version"] == "2012-10-17"


def test_a_bomb_of_aliases_is_refused() -> None:
    """A small file must not become a huge value."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    policies = "iam: {access_keys: [{access_key_id: A, secret_access_key: s, policies: [*a8]}]}"
    assert any("too deep" in line for line in problems("\n".join([*lines, policies])))


@given(st.text(max_size=80))
def test_any_text_is_a_configuration_or_its_problems(text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        assert error.problems


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="not UTF-8, from byte 3 on"):
        load(file, {})


def test_the_reference_page_is_written_from_the_keys() -> None:
    page = ROOT / "docs" / "reference" / "configuration.md"
    assert page.read_text() == config_reference.page(), "python -m pyproxy.config_reference"


def test_several_workers_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere SO_REUSEPORT gives all clients to one process, or does not exist."""
    assert read(SMALLEST + ", workers: 2}").workers == 2
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="darwin does not spread clients over processes; use 1"):
        read(SMALLEST + ", workers: 2}")


def test_what_aws_allows_is_allowed() -> None:
    """API-01, S-16, AU-01: the limits themselves; and addresses of two kinds share a port."""
    endpoints = ", ".join(f"{{db_proxy_endpoint_name: e{n}, port: {n + 2}}}" for n in range(20))
    secrets = ", ".join(f"{{secret_arn: s{n}}}" for n in range(200))
    name = "A-1b-" + "c" * 58
    read(
        f"{{proxy: {{db_proxy_name: {name}, auth: [{secrets}]}}, target_group: {{targets: "
        f"[{{id: a_1.x, port: 1}}, {{id: b, port: 2}}]}}, endpoints: [{{host: 0.0.0.0, port: 1}}, "
        f"{{host: '::1', port: 1, db_proxy_endpoint_name: six}}, {endpoints[endpoints.index(', {') + 2 :]}]}}"
    )
