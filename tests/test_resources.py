from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_suite import hardware, nodes
from raytune_suite.errors import PlanError
from raytune_suite.resources import (
    Cluster,
    Node,
    Request,
    fits,
    left_over,
    possible,
    request,
    share,
    slots,
)
from raytune_suite.shares import TooLargeError


def a_study(**wanted: Any) -> Any:
    section = {"cpu": 1, "gpu": "auto", "trials_per_gpu": None, "gpu_memory": None, "memory": None, "custom": {}}
    section |= {"accelerator_type": None, **wanted}
    return SimpleNamespace(resources=SimpleNamespace(**section), max_concurrent=None)


CPU_ONLY = Cluster((Node(8),))
TWO_GPUS = Cluster((Node(8, 2, accelerator_type="A100"),))


@pytest.mark.parametrize(
    ("node", "wanted", "count"),
    [
        (Node(8), Request(1), 8),
        (Node(8), Request(3), 2),
        (Node(2), Request(0.1), 20),
        (Node(8, 2), Request(1, 1), 2),
        (Node(1, 2), Request(1, 1), 1),
        (Node(8, 2), Request(1, 2), 1),
        (Node(64, 2), Request(1, 0.4), 4),  # 2 on each GPU: a share never spans two
        (Node(64, 2), Request(1, 0.5), 4),
        (Node(64, 1), Request(1, 1 / 3), 3),
        (Node(64, 0), Request(1, 0.1), 0),
        (Node(64, custom={"tpu": 3}), Request(1, custom={"tpu": 2}), 1),
        (Node(64, memory=8 * 2**30), Request(1, custom={"memory": 3 * 2**30}), 2),
        (Node(8, 2, accelerator_type="A100"), Request(1, 1, accelerator_type="H100"), 0),
    ],
)
def test_as_many_trials_fit_a_node_as_ray_would_place_there(node: Node, wanted: Request, count: int) -> None:
    assert fits(wanted, node) == count


@pytest.mark.parametrize("count", range(1, 65))
def test_a_share_lets_exactly_that_many_trials_on_a_gpu(count: int) -> None:
    units = round(share(count) * 10_000)  # Ray rounds to ten-thousandths

    assert 10_000 // units >= count
    assert count * units <= 10_000


def test_slots_are_summed_node_by_node_and_what_is_left_over_is_told() -> None:
    cluster = Cluster((Node(5), Node(5)))

    assert slots(Request(3), cluster) == 2  # not 10 // 3
    assert left_over(Request(3), cluster) == {"CPU": 4}


def test_max_concurrent_is_a_ceiling_and_no_floor() -> None:
    assert slots(Request(1), CPU_ONLY, 3) == 3
    assert slots(Request(1), CPU_ONLY, 99) == 8


def test_gpu_auto_is_a_whole_gpu_where_there_is_one_and_none_elsewhere() -> None:
    assert request(a_study(), TWO_GPUS) == Request(1, 1)
    assert request(a_study(), CPU_ONLY) == Request(1, 0)


def test_gpu_auto_counts_gpus_that_an_autoscaler_may_start() -> None:
    cluster = Cluster((Node(0),), autoscaling=True, growth=(Node(8, 1),))

    assert request(a_study(), cluster).gpu == 1


def test_trials_per_gpu_becomes_a_share() -> None:
    wanted = request(a_study(trials_per_gpu=3), TWO_GPUS)

    assert slots(wanted, Cluster((Node(64, 2),))) == 6


GIB = 2**30
A100S = Node(64, 2, accelerator_type="A100", gpu_memory=40 * GIB)
MIXED = Cluster((A100S, Node(64, 1, accelerator_type="H100", gpu_memory=80 * GIB)))


def test_gpu_memory_becomes_the_share_that_holds_it_and_a_cuda_context() -> None:
    wanted = request(a_study(gpu_memory=6 * GIB), Cluster((Node(64, 2, gpu_memory=24 * GIB),)))

    assert wanted == Request(1, 0.3333)  # four would fit without their contexts


def test_gpu_memory_that_only_some_gpus_have_keeps_the_trial_off_the_others() -> None:
    assert request(a_study(gpu_memory=10 * GIB), MIXED) == Request(1, 0.3333)
    assert request(a_study(gpu_memory=50 * GIB), MIXED) == Request(1, 1, accelerator_type="H100")
    assert slots(request(a_study(gpu_memory=50 * GIB), MIXED), MIXED) == 1


def test_gpu_memory_counts_on_the_kind_that_is_asked_for() -> None:
    wanted = request(a_study(gpu_memory=7 * GIB, accelerator_type="H100"), MIXED)

    assert (wanted.gpu, wanted.accelerator_type) == (0.1, "H100")


def test_gpu_memory_without_a_gpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(PlanError, match=r"6.75 GiB of GPU memory, and no such GPU is here. Set resources: \{gpu: 0\}"):
        request(a_study(gpu_memory=6 * GIB), CPU_ONLY)


def test_gpu_auto_is_the_share_that_holds_the_forecast() -> None:
    one = Cluster((Node(64, 1, gpu_memory=24 * GIB),))

    assert request(a_study(), one, forecast=5 * GIB) == Request(1, 0.25)
    assert request(a_study(), one, forecast=13 * GIB).gpu == 0.6666
    assert request(a_study(), TWO_GPUS, forecast=5 * GIB).gpu == 1  # of unknown memory
    with pytest.raises(TooLargeError, match=r"needs 30.8 GiB"):
        request(a_study(), one, forecast=30 * GIB)


def test_a_request_no_node_can_meet_is_refused_naming_it_and_the_largest_node() -> None:
    with pytest.raises(PlanError, match=r"2 GPU.*largest has 8 CPU, 1 GPU.*too little everywhere: GPU"):
        slots(Request(1, 2), Cluster((Node(8, 1), Node(16))))


def test_two_nodes_that_meet_half_of_a_request_each_do_not_meet_it() -> None:
    with pytest.raises(PlanError, match="no node can ever give it"):
        slots(Request(16, 1), Cluster((Node(8, 1), Node(32))))


def test_an_accelerator_that_is_not_there_is_named() -> None:
    with pytest.raises(PlanError, match="too little everywhere: H100"):
        slots(Request(1, 1, accelerator_type="H100"), TWO_GPUS)


def test_an_autoscaler_that_names_no_nodes_is_trusted_with_any_request() -> None:
    cluster = Cluster((Node(1),), autoscaling=True)

    assert slots(Request(1, 4), cluster) == 1
    assert slots(Request(1, 4), cluster, 6) == 6


def test_nodes_an_autoscaler_may_start_count_as_slots_and_bound_what_is_possible() -> None:
    cluster = Cluster((Node(0),), autoscaling=True, growth=(Node(8, 1),) * 4)

    assert slots(Request(1, 1), cluster) == 4
    assert not possible(Request(1, 2), cluster)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"gpu": 1.5}, "must be whole"),
        ({"gpu": 0, "cpu": 0}, "ask for nothing"),
        ({"custom": {"GPU": 1}}, "cannot name GPU"),
    ],
)
def test_amounts_that_mean_nothing_to_ray_are_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        request(a_study(**wanted), TWO_GPUS)


def test_a_bundle_leaves_zeros_out_and_names_the_accelerator_as_ray_does() -> None:
    wanted = Request(2, 0, {"tpu": 1.0}, "A100")

    assert wanted.bundle() == {"CPU": 2, "tpu": 1, "accelerator_type:A100": 0.001}


@pytest.mark.parametrize(("cpu", "threads"), [(0.5, 1), (1, 1), (3.7, 3)])
def test_threads_follow_whole_cpus(cpu: float, threads: int) -> None:
    assert Request(cpu).threads == threads


@pytest.mark.parametrize(("limit", "cpus"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_a_containers_cpu_quota_counts(tmp_path: Path, limit: str, cpus: int | None) -> None:
    (tmp_path / "cpu.max").write_text(limit)

    assert hardware.usable_cpus(tmp_path) == (cpus or hardware.usable_cpus(tmp_path / "no limit"))


def test_an_old_containers_cpu_quota_counts_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")

    assert hardware.usable_cpus(tmp_path) == 1


def test_a_containers_memory_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(2**20))

    assert hardware.usable_memory(tmp_path) == 2**20


GPUS = [hardware.Gpu(i, "NVIDIA A100-SXM4-40GB", 40 * 2**30, "570.1", f"GPU-{i}abc") for i in range(4)]


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", [2, 0]),
        ("1,7,2", [1]),  # CUDA stops at the first that is none
        ("GPU-3a", [3]),
    ],
)
def test_only_gpus_that_cuda_would_show_count(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, indices: list[int]
) -> None:
    monkeypatch.setattr(hardware, "_from_nvml", lambda: GPUS)
    environ = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}

    assert [gpu.index for gpu in hardware.visible_gpus(environ)] == indices


SLICES = [hardware.Gpu(0, "NVIDIA A100 MIG 1g.5gb", 5 * 2**30, "570.1", f"MIG-{n}") for n in range(3)]


@pytest.mark.parametrize(
    ("setting", "memories"), [("MIG-1,MIG-0", [5, 5]), ("MIG-0,GPU-1", [5, 40]), (None, [5, 40]), ("MIG-7", [])]
)
def test_slices_of_a_gpu_count_where_they_are_named(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, memories: list[int]
) -> None:
    monkeypatch.setattr(hardware, "_from_nvml", lambda: [GPUS[0], *SLICES, GPUS[1]])
    environ = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}

    assert [gpu.memory // 2**30 for gpu in hardware.visible_gpus(environ)] == memories
    assert hardware.slices(environ) == ((setting or "").count("MIG-") or None)


def test_gpus_can_be_declared_where_there_are_none() -> None:
    gpus = hardware.visible_gpus({"RAYTUNE_GPUS": "2x40GiB A100, 1x512MiB"})

    assert [(gpu.index, gpu.memory, gpu.accelerator_type) for gpu in gpus] == [
        (0, 40 * 2**30, "A100"),
        (1, 40 * 2**30, "A100"),
        (2, 2**29, ""),
    ]


@pytest.mark.parametrize("text", ["4", "x24GiB", "4x24", "4 x 24 GB A100", "2x40GiB;1x80GiB"])
def test_a_declaration_of_gpus_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="RAYTUNE_GPUS must be as in 4x24GiB"):
        hardware.visible_gpus({"RAYTUNE_GPUS": text})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("NVIDIA GeForce RTX 5090", "GeForce-RTX-5090"),
    ],
)
def test_an_accelerator_has_the_name_ray_gives_it(name: str, kind: str) -> None:
    assert hardware.Gpu(0, name, 0, "").accelerator_type == kind


def test_nvidia_smi_is_read_where_nvml_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA H200, 143771, 570.86.15, GPU-abc'\n")
    program.chmod(0o755)
    monkeypatch.setattr(hardware, "_from_nvml", lambda: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert hardware.visible_gpus({}) == [hardware.Gpu(0, "NVIDIA H200", 143771 * 2**20, "570.86.15", "GPU-abc")]


def test_a_node_is_read_from_what_ray_lists_for_it() -> None:
    listed = {"CPU": 8.0, "GPU": 1.0, "memory": 1e9, "object_store_memory": 1e9, "node:10.0.0.1": 1.0, "tpu": 2.0}

    node = nodes.node_of({**listed, "accelerator_type:A10G": 1.0}, "10.0.0.1")

    assert node == Node(8, 1, 10**9, {"tpu": 2.0}, "A10G", name="10.0.0.1")


def test_the_file_ray_up_leaves_on_a_head_says_how_far_the_cluster_can_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ray_bootstrap_config.yaml"
    file.write_text(
        "max_workers: 3\nhead_node_type: head\navailable_node_types:\n"
        "  head: {resources: {CPU: 0}}\n"
        "  gpu: {max_workers: 5, resources: {CPU: 8, GPU: 1, 'accelerator_type:A10G': 1}}\n"
    )
    monkeypatch.setattr(nodes, "BOOTSTRAP", file)
    monkeypatch.setattr(nodes, "ray_nodes", lambda: (Node(0), Node(8, 1, accelerator_type="A10G")))

    autoscaling, growth = nodes.ray_growth({})

    assert autoscaling
    assert [(node.cpu, node.gpu) for node in growth] == [(8, 1), (8, 1)]


def test_a_flag_says_the_cluster_grows_where_nothing_else_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_bootstrap_groups", lambda path: [])
    monkeypatch.setattr(nodes, "_reported_groups", list)

    assert nodes.ray_growth({"RAYTUNE_AUTOSCALING": "1"}) == (True, ())
    assert nodes.ray_growth({}) == (False, ())


def test_this_machine_is_seen_without_ray() -> None:
    (node,) = Cluster.local().nodes

    assert node.cpu >= 1
    assert node.memory > 2**28


@pytest.mark.ray
def test_a_ray_session_is_seen_as_it_is(ray_local: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTUNE_GPUS", "4x24GiB")
    cluster = Cluster.of_ray()

    assert [node.gpu_memory for node in cluster.nodes] == [None]
    assert [node.gpu_memory for node in Cluster.of_ray(gpu_memory=True).nodes] == [24 * 2**30]

    assert [(node.cpu, node.gpu) for node in cluster.nodes] == [(2, 4)]
    assert not cluster.autoscaling


def test_a_budget_of_main_memory_limits_how_many_trials_run_at_once() -> None:
    wanted = request(a_study(memory=6 * 2**30), Cluster((Node(8, memory=20 * 2**30),)))
    assert wanted.bundle() == {"CPU": 1, "memory": 6 * 2**30}
    assert slots(wanted, Cluster((Node(8, memory=20 * 2**30),))) == 3
    assert wanted.describe() == "1 CPU, 6 GiB"


def test_a_budget_that_no_machine_has_is_refused() -> None:
    with pytest.raises(PlanError, match="too little everywhere: memory"):
        slots(request(a_study(memory=64 * 2**30), CPU_ONLY), CPU_ONLY)


def test_main_memory_is_asked_for_in_one_way() -> None:
    with pytest.raises(PlanError, match="keep memory"):
        request(a_study(memory=2**30, custom={"memory": 1}), CPU_ONLY)


@pytest.mark.parametrize(
    ("resources", "max_concurrent", "expected"),
    [
        ({"gpu_memory": GIB}, None, 0.1111),
        ({"gpu_memory": GIB}, 4, 0.5),
        ({"gpu_memory": GIB}, 2, 1.0),
        ({"gpu_memory": 10 * GIB}, 4, 1.0),
        ({"gpu": "auto"}, 2, 1.0),
        ({"gpu": 0.25}, 2, 0.25),
        ({"trials_per_gpu": 4}, 2, 0.25),
    ],
)
def test_few_trials_do_not_gather_on_one_gpu(resources: Any, max_concurrent: int | None, expected: float) -> None:
    study = a_study(**resources)
    study.max_concurrent = max_concurrent
    cluster = Cluster((Node(32, 2, gpu_memory=16 * GIB),))
    assert request(study, cluster, forecast=GIB).gpu == expected


def test_trials_of_unlike_size_keep_their_shares_where_they_must_share() -> None:
    small = request(a_study(gpu="auto", cpu=8), Cluster((Node(32, 2, gpu_memory=24 * GIB),)), forecast=GIB)
    assert small.gpu == 0.0833
