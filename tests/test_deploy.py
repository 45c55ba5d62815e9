"""The files of deploy/ name metrics, flags and paths that the endpoint has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from profiler.table import Deployment
from simulator.endpoint.command import parser

yaml = pytest.importorskip("yaml")
pytest.importorskip("prometheus_client")
DEPLOY = Path(__file__).parents[1] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "cohort.json").read_text(encoding="utf-8"))
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def exposed() -> set[str]:
    from simulator.endpoint.metrics import Metrics

    metrics, known = Metrics("m"), Deployment.of("synthetic").predictions
    metrics.watch(cast(Any, SimpleNamespace(waiting=0, pending=0, gpus=1, ready=1, predictions=known)))
    return set(re.findall(r"(?m)^(\w+)", metrics.text().decode())) - {""}


def test_queries_name_metrics_that_there_are():
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    queries += [each["metadata"]["query"] for each in KUBERNETES[2]["spec"]["triggers"]]
    named = {name for query in queries for name in re.findall(r"cohort_\w+", query)}
    assert len(named) >= 10
    assert named <= exposed()


def test_panels_do_not_overlap():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_arguments_are_flags_and_the_grace_outlasts_the_end():
    (container,) = KUBERNETES[0]["spec"]["template"]["spec"]["containers"]
    for words, grace in (
        (container["args"], KUBERNETES[0]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]),
        (COMPOSE["services"]["cohort"]["command"], int(COMPOSE["services"]["cohort"]["stop_grace_period"].rstrip("s"))),
        *((json.loads(re.findall(r"(?m)^CMD (.*)$", text)[0]), 40) for text in dockerfiles()),
    ):
        assert words[0] == "serve"
        options = parser().parse_args(words[1:])
        assert options.host == "0.0.0.0"
        assert grace > options.lame_duck_s + options.timeout_s


def test_probes_ask_for_paths_of_the_endpoint():
    (container,) = KUBERNETES[0]["spec"]["template"]["spec"]["containers"]
    asked = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked == {"/v2/health/ready", "/v2/health/live"}
    said = (Path(__file__).parents[1] / "docs" / "endpoint.md").read_text(encoding="utf-8")
    assert all(path in said for path in asked)
    assert KUBERNETES[1]["spec"]["selector"] == KUBERNETES[0]["spec"]["selector"]["matchLabels"]
    assert KUBERNETES[2]["spec"]["scaleTargetRef"]["name"] == KUBERNETES[0]["metadata"]["name"]


def test_dockerfiles_copy_what_they_install_from():
    root = Path(__file__).parents[1]
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").split()
    for text in dockerfiles():
        for name in re.findall(r"-c (\S+)", text):
            assert (root / name).exists()
    assert not {"README.md", "LICENSE", "constraints.txt", "pyproject.toml", "profiler"} & set(ignored)


def dockerfiles() -> list[str]:
    return [(DEPLOY / name).read_text(encoding="utf-8") for name in ("Dockerfile", "Dockerfile.cuda")]
