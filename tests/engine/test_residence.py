from typing import Any

import pytest

from raytune_suite.engine.residence import Residence


class Once:
    """Ends with its first step, or fails in it."""

    reusable, over = False, True

    def __init__(self, config: dict[str, Any], **_: Any) -> None:
        self.fails = config["fails"]

    def train(self) -> dict[str, Any]:
        if self.fails:
            raise ValueError("no")
        return {"done": True}

    def stop(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(("fails", "told"), [(False, [0, 1]), (True, [0])])
def test_a_failure_is_told_before_a_parked_trial_begins(fails: bool, told: list[int]) -> None:
    """The parked one might end the process, and the failed one would be blamed for it."""
    residence = Residence()
    orders: list[Any] = [("learn", "once", Once), ("enter", 0, "once", {"config": {"fails": fails}})]
    reply = residence.turn([*orders, ("park", 1, "once", {"config": {"fails": False}})], 0, "train", ())
    assert [event.tenant for event in reply.events] == told
    assert reply.brisk is not fails
