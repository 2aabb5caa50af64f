"""Trials of different sizes on the GPUs of nodes, as Ray places them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_suite.packing import Room, pack, takes_another, trials_at_once
from raytune_suite.resources import Cluster, Node, Request, slots
from raytune_suite.shares import PARTS

NODE = Node(16, 2, accelerator_type="A100")
SHARES = [int(part * 10_000) / 10_000 for part in PARTS]


def test_a_share_goes_where_least_is_left_of_a_gpu() -> None:
    room = Room.of(NODE)

    assert [room.place(Request(1, share)) for share in (0.5, 0.25, 0.75, 0.25)] == [(0,), (0,), (1,), (0,)]
    assert room.place(Request(1, 0.5)) is None
    assert room.gpus == [0, 2500]


def test_a_whole_gpu_must_be_free() -> None:
    room = Room.of(NODE)
    room.place(Request(1, 0.25))

    assert room.place(Request(1, 2)) is None
    assert room.place(Request(1, 1)) == (1,)


@pytest.mark.parametrize("wanted", [Request(17), Request(1, custom={"tpu": 1}), Request(1, 1, accelerator_type="T4")])
def test_what_a_node_has_not_is_not_placed_and_takes_nothing(wanted: Request) -> None:
    room = Room.of(NODE)

    assert room.place(wanted) is None
    assert room == Room.of(NODE)


def test_who_finds_no_place_does_not_keep_smaller_ones_out() -> None:
    rooms, homeless = pack([Request(1, 0.75), Request(1, 0.75), Request(1, 1), Request(1, 0.25)], [NODE])

    assert homeless == [Request(1, 1)]
    assert rooms[0].gpus == [0, 2500]


def test_asking_whether_another_fits_changes_nothing() -> None:
    rooms, _ = pack([Request(1, 0.75)], [NODE])
    before = [*rooms[0].gpus]

    assert takes_another(rooms, Request(1, 1))
    assert not takes_another(rooms, Request(99))
    assert rooms[0].gpus == before


@given(share=st.sampled_from(SHARES), gpus=st.integers(1, 8), nodes=st.integers(1, 3), cpu=st.sampled_from([0.0, 1.0]))
def test_equal_trials_pack_to_the_number_of_slots(share: float, gpus: int, nodes: int, cpu: float) -> None:
    machines, wanted = (Node(64, gpus),) * nodes, Request(cpu, share)

    count = slots(wanted, Cluster(machines))
    assert not pack([wanted] * count, machines)[1]
    assert pack([wanted] * (count + 1), machines)[1]
    assert trials_at_once([wanted], machines) == count


@given(st.lists(st.sampled_from(SHARES), max_size=40))
def test_no_gpu_is_ever_over_committed(shares: list[float]) -> None:
    rooms, homeless = pack([Request(0, share) for share in shares], [NODE])

    assert all(0 <= left <= 10_000 for left in rooms[0].gpus)
    placed = sum(round(share * 10_000) for share in shares) - sum(round(r.gpu * 10_000) for r in homeless)
    assert placed == 20_000 - sum(rooms[0].gpus)
    for wanted in homeless:
        assert not takes_another(rooms, wanted), "idle while something fits"


def test_a_mixture_packs_to_its_shares() -> None:
    half, quarter = Request(0, 0.5), Request(0, 0.25)

    assert trials_at_once([half, quarter, quarter], [Node(64, 4)]) == 12
