"""The one Ray that all tests share: local, on the loopback address, with two CPUs and four fake GPUs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """Start Ray once; ``run`` finds it and neither starts nor stops another."""
    from raytune_suite import ray_runtime

    temp = tempfile.mkdtemp(prefix="rt-", dir="/tmp")
    with ray_runtime.environment():
        import ray

        ray.init(
            _node_ip_address="127.0.0.1",
            include_dashboard=False,
            num_cpus=2,
            num_gpus=4,
            _temp_dir=temp,
            log_to_driver=False,
            object_store_memory=200 * 2**20,
        )
        yield
        ray.shutdown()
    shutil.rmtree(temp, ignore_errors=True)
