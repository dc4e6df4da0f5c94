"""The manifests that the documentation shows: what they say of PyProxy is true of it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from pyproxy.config import ProxyConfig
from pyproxy.config_file import load
from pyproxy.dashboard.commands.healthcheck import DEFAULT_URL
from tests.support.imports import ROOT

HOW_TO = ROOT / "docs" / "how-to"
IMAGE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def documents(page: str) -> list[Any]:
    """The YAML documents of a page, in its order."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return [found for block in _BLOCK.findall(text) for found in yaml.safe_load_all(block)]


GITHUB, GITHUB_STEPS, GITLAB = documents("run-in-ci.md")
MANIFESTS = {manifest["kind"]: manifest for manifest in documents("run-in-kubernetes.md")}
POD = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
(PROXY,) = POD["containers"]


def the_image_takes(environment: Mapping[str, str]) -> None:
    """The configuration in the image is a valid one, and each variable is one that it reads."""
    ours = {name for name in environment if name.startswith("PYPROXY_")}
    text = (ROOT / "config" / "container.yaml").read_text(encoding="utf-8")
    assert ours <= {*re.findall(r"PYPROXY_\w+", text)}
    assert "PYPROXY_SECRET_DATABASE" in ours
    load(ROOT / "config" / "container.yaml", environment)


def test_a_service_of_github_has_what_the_image_needs() -> None:
    services = GITHUB["jobs"]["test"]["services"]
    the_image_takes(services["pyproxy"]["env"])
    assert services["pyproxy"]["env"]["PYPROXY_TARGET_HOST"] in services


def test_what_is_worth_setting_can_be_set() -> None:
    text = (HOW_TO / "run-in-ci.md").read_text(encoding="utf-8").partition("worth setting")[2]
    told = dict(re.findall(r'`(PYPROXY_\w+): "(\d+)"`', text))
    assert len(told) == 2
    the_image_takes(GITHUB["jobs"]["test"]["services"]["pyproxy"]["env"] | told)


def test_a_step_of_github_has_what_the_image_needs() -> None:
    (started,) = (step["run"] for step in GITHUB_STEPS["steps"] if "docker run" in str(step))
    the_image_takes(dict(re.findall(r"-e (\w+)='?(.*?)'? (?=-|pyproxy)", started)))


def test_a_service_of_gitlab_has_what_the_image_needs() -> None:
    """The services of a job reach each other in a network of its own only."""
    job = GITLAB["test"]
    the_image_takes(job["variables"])
    names = {service["alias"] for service in job["services"]}
    assert job["variables"]["PYPROXY_TARGET_HOST"] in names
    assert "@pyproxy:6432/" in job["variables"]["DATABASE_URL"]
    assert job["variables"]["FF_NETWORK_PER_BUILD"] == "true"


def test_a_deployment_has_what_the_image_needs() -> None:
    the_image_takes(
        {variable["name"]: variable["value"] for variable in PROXY["env"]}
        | MANIFESTS["Secret"]["stringData"]
    )
    assert PROXY["envFrom"] == [{"secretRef": {"name": MANIFESTS["Secret"]["metadata"]["name"]}}]


def test_the_name_that_clients_verify_is_the_services() -> None:
    (name,) = (v["value"] for v in PROXY["env"] if v["name"] == "PYPROXY_PUBLIC_HOST")
    assert name == MANIFESTS["Service"]["metadata"]["name"]


def test_a_deployment_gives_transactions_the_time_to_finish() -> None:
    before = int(PROXY["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert POD["terminationGracePeriodSeconds"] > before + ProxyConfig().drain_timeout


def test_probes_ask_what_the_proxy_answers() -> None:
    ports = {port["name"]: port["containerPort"] for port in PROXY["ports"]}
    assert f"EXPOSE {ports['postgresql']} {ports['http']}\n" in IMAGE
    assert DEFAULT_URL.endswith(f":{ports['http']}")
    alive, ready = (PROXY[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe"))
    assert alive == {"path": "/healthz", "port": "http"}
    assert ready == {"path": "/readyz", "port": "http"}


def test_a_deployment_is_no_more_than_the_image_needs() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert f"USER {POD['securityContext']['fsGroup']}:" in IMAGE
    assert PROXY["securityContext"]["readOnlyRootFilesystem"] is True
    assert PROXY["securityContext"]["allowPrivilegeEscalation"] is False
    (mount,) = PROXY["volumeMounts"]
    assert f"VOLUME {mount['mountPath']}\n" in IMAGE


def test_the_page_is_published_to_nobody() -> None:
    """The HTTP side has no login."""
    assert [port["port"] for port in MANIFESTS["Service"]["spec"]["ports"]] == [6432]
