"""The image's recipe, read and judged: what a linter would say, and what we promise in the docs."""

import json
import re
from fnmatch import fnmatch
from typing import NamedTuple

import pytest
import yaml

from pyproxy.config import EndpointConfig
from pyproxy.config_file import load
from tests.support.imports import ROOT


class Instruction(NamedTuple):
    keyword: str
    value: str


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile: comments gone, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(keyword.upper(), value) for keyword, value in found]


RECIPE = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
LAST_FROM = max(i for i, step in enumerate(RECIPE) if step.keyword == "FROM")
FINAL = RECIPE[LAST_FROM:]


def only(keyword: str) -> str:
    """The value of the final stage's only such instruction."""
    values = [step.value for step in FINAL if step.keyword == keyword]
    assert len(values) == 1, f"{keyword} stands {len(values)} times in the final stage"
    return values[0]


def test_a_continued_line_is_one_instruction() -> None:
    assert parse("# c\nRUN a \\\n  # c\n  && b\n\nUSER 1\n") == [
        Instruction("RUN", "a && b"),
        Instruction("USER", "1"),
    ]


def test_the_image_is_built_in_two_stages_from_a_pinned_base() -> None:
    bases = [step.value.split()[0] for step in RECIPE if step.keyword == "FROM"]
    builder, shipped = (base.partition(":")[2] for base in bases)
    assert re.fullmatch(r"3\.\d+-slim", shipped), f"{shipped}: a version, never latest"
    assert f"{builder}-slim" == shipped, "what the builder compiles is for this Python"


def test_the_image_ships_the_compiled_build() -> None:
    builds = [step.value for step in RECIPE if step.keyword == "RUN" and "pip wheel" in step.value]
    assert len(builds) == 1
    assert builds[0].startswith("PYPROXY_COMPILE=1 ")


def test_the_proxy_is_not_root_and_its_number_is_known_to_the_orchestrator() -> None:
    user = only("USER")
    assert all(part.isdigit() and int(part) > 0 for part in user.split(":")), user


def test_any_user_of_group_0_may_write_to_the_state_folder() -> None:
    """OpenShift, "Support arbitrary user ids": it runs images as a number of its own, in group 0."""
    made = next(
        step.value.split()
        for step in FINAL
        if step.keyword == "RUN" and step.value.startswith("install -d")
    )
    assert made[-1] == only("VOLUME")
    assert {"-o": "10001", "-g": "0", "-m": "0770"}.items() <= dict(
        zip(made[2::2], made[3::2], strict=False)
    ).items()


def test_the_standard_library_is_compiled_while_it_may_be_written_to() -> None:
    """Python's own images ship none of it compiled, and the proxy's user may not write it down."""
    before = FINAL[: [step.keyword for step in FINAL].index("USER")]
    commands = [
        command.strip()
        for step in before
        if step.keyword == "RUN"
        for command in step.value.split("&&")
    ]
    assert [c for c in commands if re.fullmatch(r"python -m compileall -q .*/lib/python3\.\*", c)]


def test_signals_reach_the_proxy_itself() -> None:
    """In the shell form SIGTERM would end a shell, and clients would be cut off."""
    command = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    assert command == ["pyproxy", "run", "--config", "/etc/pyproxy/pyproxy.yaml"]
    assert only("STOPSIGNAL") == "SIGTERM"


def test_health_is_asked_without_a_shell_or_curl() -> None:
    _, _, command = only("HEALTHCHECK").partition("CMD ")
    # Where the proxy listens is what its configuration says, also one that is mounted.
    assert json.loads(command)[:2] == ["pyproxy", "healthcheck"]
    assert json.loads(command)[2:] == json.loads(only("CMD"))[1:]


def test_every_package_is_locked_and_nothing_else_is_downloaded() -> None:
    for step in RECIPE:
        if step.keyword == "RUN":
            for command in step.value.split("&&"):
                words = command.split()
                if "install" in words and words[0].endswith("pip"):
                    assert "--require-hashes" in words or "--no-deps" in words, command
                assert not {"curl", "wget", "apt-get"} & set(words), command
    assert not [step for step in RECIPE if step.keyword == "ADD"], "ADD also unpacks and downloads"


def test_no_secret_is_baked_in() -> None:
    for step in RECIPE:
        if step.keyword in ("ENV", "ARG"):
            assert not re.search(r"(?i)password|secret|token|key", step.value), step


def test_everything_copied_exists_and_is_let_through() -> None:
    """.dockerignore shuts everything out but what the recipe names."""
    allowed = [
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = [
        source
        for step in RECIPE
        if step.keyword == "COPY" and "--from" not in step.value
        for source in step.value.split()[:-1]
    ]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, rule) or source.startswith(f"{rule}/") for rule in allowed)


def test_the_configuration_in_the_image_listens_where_the_image_says() -> None:
    config = yaml.safe_load((ROOT / "config" / "container.yaml").read_text(encoding="utf-8"))
    ports = {endpoint["port"] for endpoint in config["endpoints"]} | {config["http"]["port"]}
    assert ports == {int(port) for port in only("EXPOSE").split()}
    hosts = {endpoint["host"] for endpoint in config["endpoints"]} | {config["http"]["host"]}
    assert hosts == {"0.0.0.0"}, "on loopback a container is reachable by nobody"
    assert config["state_dir"] == only("VOLUME")


CONTAINER = ROOT / "config" / "container.yaml"


def test_the_page_tells_every_variable_and_its_default() -> None:
    text = CONTAINER.read_text(encoding="utf-8")
    settings = text[text.index("\nproxy:") :]
    variables = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", settings))
    page = (ROOT / "docs" / "how-to" / "run-in-docker.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(PYPROXY_\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert told.pop("PYPROXY_SECRET_DATABASE") == "required"
    assert told.pop("PYPROXY_TARGET_HOST") == "required"
    assert variables.pop("PYPROXY_TARGET_HOST") == ""
    assert {name: default.strip("`").replace("empty", "") for name, default in told.items()} == (
        variables
    )


def test_a_name_for_clients_can_be_set_by_variable() -> None:
    """It is a name of the certificate; without the variable things are as they are without it."""
    named = load(CONTAINER, {"PYPROXY_TARGET_HOST": "db", "PYPROXY_PUBLIC_HOST": "pyproxy"})
    assert named.endpoints[0].public_host == "pyproxy"
    plain = load(CONTAINER, {"PYPROXY_TARGET_HOST": "db"})
    assert plain.endpoints[0].public_host == EndpointConfig().public_host


@pytest.mark.parametrize(("given", "idle"), [({}, 15), ({"IDLE_": "20"}, 20), ({"IDLE_": ""}, 15)])
def test_the_one_percentage_follows_the_other(given: dict[str, str], idle: int) -> None:
    """S-03: its default is half of the maximum, so that the maximum can be set alone."""
    variables = {"PYPROXY_TARGET_HOST": "db", "PYPROXY_MAX_CONNECTIONS_PERCENT": "30"}
    variables |= {f"PYPROXY_MAX_{name}CONNECTIONS_PERCENT": value for name, value in given.items()}
    assert load(CONTAINER, variables).target_group.connection_pool_config.idle_percent == idle


def test_the_database_can_be_verified_by_variables_alone() -> None:
    variables = {"PYPROXY_TARGET_HOST": "db", "PYPROXY_TARGET_TLS": "verify-full"}
    variables["PYPROXY_TARGET_ROOT_CERTIFICATE"] = "/etc/pyproxy/ca.pem"
    (target,) = load(CONTAINER, variables).target_group.targets
    assert (target.tls, target.root_certificate) == ("verify-full", "/etc/pyproxy/ca.pem")
    (target,) = load(CONTAINER, {"PYPROXY_TARGET_HOST": "db"}).target_group.targets
    assert target.root_certificate == ""


@pytest.mark.parametrize("service", ["postgres", "pyproxy"])
def test_compose_publishes_to_this_machine_only(service: str) -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    for port in compose["services"][service].get("ports", []):
        assert str(port).startswith("127.0.0.1:"), port
    assert not compose["services"][service].get("image", "postgres:17").endswith(":latest")


def test_compose_gives_the_proxy_an_init() -> None:
    """As process 1 it would be given every orphan of the container, and it buries only its own."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert compose["services"]["pyproxy"]["init"] is True


def test_compose_sets_the_variables_that_the_configuration_requires() -> None:
    text = (ROOT / "config" / "container.yaml").read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{(\w+)\}", text))
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert required == {"PYPROXY_TARGET_HOST"}
    assert required <= set(compose["services"]["pyproxy"]["environment"])
