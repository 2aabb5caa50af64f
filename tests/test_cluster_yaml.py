from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def config() -> Any:
    return yaml.safe_load(FILE.read_text())


def check(config: Any) -> None:
    """As ``ray up`` does before it starts anything: fill in the provider's defaults, then Ray's schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_accepts_the_cluster_configuration(config: Any) -> None:
    check(config)


@pytest.mark.parametrize("change", [{"nodes": 3}, {"max_workers": "many"}, {"head_node_type": "none"}])
def test_the_check_finds_mistakes(config: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"(?i)invalid|not one of|unexpected|head_node_type|not of type"):
        check({**config, **change})


def test_workers_come_and_go_and_the_head_runs_no_trials(config: Any) -> None:
    kinds = config["available_node_types"]
    head = kinds.pop(config["head_node_type"])

    assert head["resources"] == {"CPU": 0}
    assert all(kind["min_workers"] == 0 < kind["max_workers"] for kind in kinds.values())
    assert all(kind["resources"]["GPU"] >= 1 for kind in kinds.values())
    assert config["max_workers"] >= max(kind["max_workers"] for kind in kinds.values())


def test_every_ray_starts_with_a_token_and_the_dashboard_stays_on_loopback(config: Any) -> None:
    heads, workers = config["head_start_ray_commands"], config["worker_start_ray_commands"]
    starts = [command for command in heads + workers if " start " in command]

    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert all("--dashboard-host=127.0.0.1" in command for command in heads if " start " in command)
    assert "0.0.0.0" not in FILE.read_text()
    assert any(target.endswith(".ray/auth_token") for target in config["file_mounts"])


def test_every_node_installs_the_project_with_its_constraints(config: Any) -> None:
    installs = [command for command in config["setup_commands"] if "pip install" in command]

    assert any("--constraint" in command and "constraints.txt" in command for command in installs)


def test_the_file_holds_no_secret() -> None:
    assert not re.search(r"(?i)(secret|password|access_key)\s*[:=]|AKIA[0-9A-Z]{16}", FILE.read_text())


def test_the_plan_reads_from_it_how_far_the_cluster_can_grow() -> None:
    from raytune_suite.nodes import _bootstrap_groups

    groups = [(node.cpu, node.gpu, node.accelerator_type, most) for node, most in _bootstrap_groups(FILE)]

    assert groups == [(8, 1, "A10G", 4)]
