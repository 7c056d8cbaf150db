from __future__ import annotations

import pytest

from spotalis.model.pod_requests import InitContainer, effective_requests, pod_requests
from spotalis.model.quantity import ResourceList


def cpu(millis: int) -> ResourceList:
    return {"cpu": millis}


def init(millis: int) -> InitContainer:
    return InitContainer(cpu(millis), is_sidecar=False)


def sidecar(millis: int) -> InitContainer:
    return InitContainer(cpu(millis), is_sidecar=True)


@pytest.mark.parametrize(
    ("containers", "init_containers", "total"),
    [
        pytest.param([250, 1000], [], 1250, id="containers add up"),
        pytest.param([1000], [init(3000), init(2000)], 3000, id="largest init container"),
        pytest.param([4000], [init(3000)], 4000, id="smaller init container"),
        pytest.param([1000], [sidecar(500)], 1500, id="sidecar beside the containers"),
        pytest.param([1000], [sidecar(1000), init(2000)], 3000, id="init container after sidecar"),
        pytest.param([1000], [init(2000), sidecar(1000)], 2000, id="init container before sidecar"),
        pytest.param([100], [sidecar(1), sidecar(2), init(200)], 203, id="two sidecars, then init"),
    ],
)
def test_a_pod_requests_its_largest_concurrent_sum(
    containers: list[int], init_containers: list[InitContainer], total: int
) -> None:
    assert pod_requests(map(cpu, containers), init_containers) == cpu(total)


def test_pod_level_requests_replace_the_sum_of_each_resource_they_name() -> None:
    containers = [{"cpu": 1000, "memory": 5}]
    assert pod_requests(containers, pod_level=cpu(2000)) == {"cpu": 2000, "memory": 5}


def test_pod_level_limits_count_only_for_resources_that_no_container_requests() -> None:
    limits = {"cpu": 4000, "memory": 7}
    assert pod_requests([cpu(1000)] * 2, pod_level_limits=limits) == {"cpu": 2000, "memory": 7}


def test_overhead_is_added_to_the_containers_and_to_pod_level_requests() -> None:
    assert pod_requests([cpu(1000)], overhead=cpu(100)) == cpu(1100)
    assert pod_requests([cpu(1000)], pod_level=cpu(2000), overhead=cpu(100)) == cpu(2100)


def test_a_limit_without_a_request_counts_as_a_request() -> None:
    limits = {"cpu": "2", "memory": "1Ki"}
    assert effective_requests({"cpu": "1"}, limits) == {"cpu": 1000, "memory": 1024}
    assert effective_requests(None, None) == {}
