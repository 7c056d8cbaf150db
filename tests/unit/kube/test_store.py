from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spotalis.kube.store import Event, EventType, Store, StoreChange, StoreWriter, is_older
from spotalis.model.objects import Node, Pod


def a_pod(name: str = "web-1", version: int | str = 1, uid: str = "u1", node: str = "") -> Pod:
    version = str(version)
    return Pod(namespace="shop", name=name, uid=uid, resource_version=version, node=node)


def added(pod: Pod) -> Event[Pod]:
    return Event(EventType.ADDED, pod)


def modified(pod: Pod) -> Event[Pod]:
    return Event(EventType.MODIFIED, pod)


def deleted(pod: Pod) -> Event[Pod]:
    return Event(EventType.DELETED, pod)


def a_writer(*pods: Pod) -> StoreWriter[Pod]:
    writer: StoreWriter[Pod] = StoreWriter(Store())
    for pod in pods:
        writer.apply(added(pod))
    return writer


def unlisted(writer: StoreWriter[Pod]) -> list[str]:
    return [pod.name for pods in writer.unlisted() for pod in pods]


def test_a_reader_finds_what_was_written() -> None:
    one, two = a_pod("one"), a_pod("two")
    store = a_writer(one, two).store
    assert store.get("shop", "one") is one
    assert store.get("shop", "three") is None
    assert store.get("elsewhere", "one") is None
    assert list(store) == list(store.in_namespace("shop")) == [one, two]
    assert list(store.in_namespace("elsewhere")) == []
    assert len(store) == 2


def test_objects_without_namespaces_are_under_the_empty_name() -> None:
    writer: StoreWriter[Node] = StoreWriter(Store())
    node = Node(name="n1", uid="u", resource_version="1")
    writer.apply(Event(EventType.ADDED, node))
    assert writer.store.get("", "n1") is node


def test_each_event_returns_its_change() -> None:
    writer = a_writer()
    one, two, end = a_pod(version=1), a_pod(version=2), a_pod(version=3)
    assert writer.apply(added(one)) == StoreChange(None, one)
    assert writer.apply(modified(two)) == StoreChange(one, two)
    assert writer.apply(deleted(end)) == StoreChange(two, None)
    assert len(writer.store) == 0


def test_a_duplicate_changes_nothing() -> None:
    writer = a_writer(a_pod(version=5))
    assert writer.apply(modified(a_pod(version=5))) is None
    assert writer.apply(deleted(a_pod(version=6))) is not None
    assert writer.apply(deleted(a_pod(version=6))) is None


def test_an_older_version_is_refused() -> None:
    writer = a_writer(a_pod(version=10))
    assert writer.apply(modified(a_pod(version=9))) is None
    assert writer.apply(deleted(a_pod(version=9))) is None
    held = writer.store.get("shop", "web-1")
    assert held is not None
    assert held.resource_version == "10"


def test_versions_are_numbers_not_texts() -> None:
    writer = a_writer(a_pod(version=9))
    assert writer.apply(modified(a_pod(version=10))) is not None
    assert is_older("9", "10")
    assert not is_older("10", "9")


def test_a_version_that_is_not_a_number_is_never_older() -> None:
    writer = a_writer(a_pod(version=10))
    assert writer.apply(modified(a_pod(version="opaque"))) is not None
    assert writer.apply(modified(a_pod(version=1))) is not None


def test_a_deletion_that_left_the_version_as_it_was_is_a_deletion() -> None:
    writer = a_writer(a_pod(version=5))
    assert writer.apply(deleted(a_pod(version=5))) is not None


def test_a_late_event_does_not_restore_a_deleted_object() -> None:
    writer = a_writer(a_pod(version=5))
    writer.apply(deleted(a_pod(version=7)))
    assert writer.apply(modified(a_pod(version=6))) is None
    assert len(writer.store) == 0


def test_a_successor_of_the_same_name_is_another_object() -> None:
    writer = a_writer(a_pod(version=5, uid="u1"))
    writer.apply(deleted(a_pod(version=7, uid="u1")))
    successor = a_pod(version=8, uid="u2")
    assert writer.apply(added(successor)) == StoreChange(None, successor)
    assert writer.apply(deleted(a_pod(version=7, uid="u1"))) is None


def test_memory_of_deletions_is_bounded() -> None:
    writer = a_writer()
    for number in range(10_000):
        writer.apply(deleted(a_pod(f"web-{number}", version=number)))
    assert len(writer._deleted) <= 4096


def test_a_namespace_leaves_nothing_behind() -> None:
    writer = a_writer(a_pod(version=1))
    writer.apply(deleted(a_pod(version=2)))
    assert writer.store.by_namespace == {}


class TestRelist:
    def test_objects_that_the_list_does_not_show_are_returned(self) -> None:
        writer = a_writer(a_pod("kept", 1), a_pod("gone", 1))
        writer.begin_relist()
        writer.apply(added(a_pod("kept", 1)))
        writer.apply(added(a_pod("new", 2)))
        assert unlisted(writer) == ["gone"]

    def test_records_that_did_not_change_stay_the_same_objects(self) -> None:
        kept = a_pod("kept", 1)
        writer = a_writer(kept)
        writer.begin_relist()
        assert writer.apply(added(a_pod("kept", 1))) is None
        assert writer.store.get("shop", "kept") is kept

    def test_an_undecodable_object_counts_as_listed(self) -> None:
        writer = a_writer(a_pod("odd", 1))
        writer.begin_relist()
        writer.mark_listed("shop", "odd")
        assert unlisted(writer) == []

    def test_a_deletion_during_the_list_is_reported_once(self) -> None:
        writer = a_writer(a_pod("gone", 1))
        writer.begin_relist()
        assert writer.apply(deleted(a_pod("gone", 2))) is not None
        assert unlisted(writer) == []

    def test_a_dropped_object_may_return_with_the_same_version(self) -> None:
        pod = a_pod("one", 1)
        writer = a_writer(pod)
        assert writer.drop(pod) == StoreChange(pod, None)
        assert writer.drop(pod) is None
        assert writer.apply(added(pod)) == StoreChange(None, pod)

    def test_an_aborted_list_leaves_no_trace(self) -> None:
        writer = a_writer(a_pod("one", 1), a_pod("two", 1))
        writer.begin_relist()
        writer.apply(added(a_pod("one", 1)))
        writer.begin_relist()
        writer.apply(added(a_pod("two", 1)))
        assert unlisted(writer) == ["one"]

    def test_the_store_is_synced_when_the_first_list_has_ended(self) -> None:
        writer = a_writer()
        writer.begin_relist()
        assert not writer.store.synced
        writer.end_relist()
        assert writer.store.synced

    def test_the_store_is_never_fresh_before_or_during_a_list(self) -> None:
        writer = a_writer()
        writer.mark_fresh(1.0)
        assert writer.store.fresh_in("") == float("-inf")
        writer.begin_relist()
        writer.end_relist()
        writer.mark_fresh(2.0)
        writer.begin_relist()
        writer.mark_fresh(3.0)
        assert writer.store.fresh_in("") == 2.0

    def test_a_list_that_goes_back_in_time_accepts_older_versions(self) -> None:
        writer = a_writer(a_pod("one", 100))
        writer.apply(deleted(a_pod("two", 99)))
        writer.begin_relist(back_in_time=True)
        assert writer.apply(added(a_pod("one", 50))) is not None
        assert writer.apply(added(a_pod("two", 40))) is not None
        writer.end_relist()
        assert writer.apply(modified(a_pod("one", 49))) is None


def a_pod_in(namespace: str, name: str, version: int = 1) -> Pod:
    return Pod(
        namespace=namespace, name=name, uid=f"{namespace}/{name}", resource_version=str(version)
    )


def writers_of(*namespaces: str) -> list[StoreWriter[Pod]]:
    store: Store[Pod] = Store()
    return [StoreWriter(store, namespace) for namespace in namespaces]


def list_of(writer: StoreWriter[Pod], *pods: Pod, at: float = 0.0) -> list[str]:
    """A whole list; the names of what it made vanish."""
    writer.begin_relist()
    for pod in pods:
        writer.apply(added(pod))
    gone = [pod for held in writer.unlisted() for pod in held]
    for pod in gone:
        writer.drop(pod)
    writer.end_relist()
    writer.mark_fresh(at)
    return [f"{pod.namespace}/{pod.name}" for pod in gone]


class TestAWriterForEachNamespace:
    def test_a_list_takes_nothing_away_from_the_other_namespaces(self) -> None:
        shop, data = writers_of("shop", "data")
        list_of(shop, a_pod_in("shop", "one"), a_pod_in("shop", "two"))
        list_of(data, a_pod_in("data", "one"))
        assert list_of(shop, a_pod_in("shop", "two")) == ["shop/one"]
        assert [pod.uid for pod in shop.store] == ["shop/two", "data/one"]
        assert list_of(shop) == ["shop/two"]
        assert [pod.uid for pod in shop.store] == ["data/one"]

    def test_concurrent_lists_of_namespaces_are_independent(self) -> None:
        shop, data = writers_of("shop", "data")
        list_of(shop, a_pod_in("shop", "one"))
        list_of(data, a_pod_in("data", "one"))
        shop.begin_relist()
        data.begin_relist()
        data.apply(added(a_pod_in("data", "two")))
        assert unlisted(shop) == unlisted(data) == ["one"]
        data.end_relist()
        assert unlisted(shop) == ["one"]

    def test_going_back_in_time_is_limited_to_the_listed_namespace(self) -> None:
        shop, data = writers_of("shop", "data")
        list_of(shop, a_pod_in("shop", "one", 100))
        list_of(data, a_pod_in("data", "one", 100))
        shop.begin_relist(back_in_time=True)
        assert shop.apply(added(a_pod_in("shop", "one", 50))) is not None
        assert data.apply(modified(a_pod_in("data", "one", 50))) is None

    def test_each_writer_counts_its_own_scope(self) -> None:
        shop, data = writers_of("shop", "data")
        list_of(shop, a_pod_in("shop", "one"), a_pod_in("shop", "two"))
        assert (shop.count, data.count) == (2, 0)
        assert a_writer(a_pod_in("shop", "one"), a_pod_in("data", "one")).count == 2

    def test_the_store_is_synced_when_every_first_list_has_ended(self) -> None:
        shop, data = writers_of("shop", "data")
        list_of(shop)
        list_of(shop)
        assert (shop.synced, data.synced, shop.store.synced) == (True, False, False)
        list_of(data)
        assert data.synced
        assert shop.store.synced

    def test_a_namespace_is_as_fresh_as_its_own_writer(self) -> None:
        shop, data = writers_of("shop", "data")
        list_of(shop, at=1.0)
        assert shop.store.fresh_in("data") == float("-inf")
        list_of(data, at=2.0)
        shop.mark_fresh(9.0)
        data.begin_relist()
        data.mark_fresh(8.0)
        assert (shop.store.fresh_in("shop"), shop.store.fresh_in("data")) == (9.0, 2.0)


VERSIONS = st.integers(1, 30)
EVENTS = st.lists(st.tuples(st.sampled_from(EventType), st.sampled_from("abc"), VERSIONS))


@given(EVENTS)
def test_any_order_of_events_ends_with_the_newest_of_each_object(
    events: list[tuple[EventType, str, int]],
) -> None:
    """A version belongs to one event: what came twice counts once, and order does not matter."""
    newest: dict[str, tuple[int, EventType]] = {}
    said: dict[tuple[str, int], EventType] = {}
    writer = a_writer()
    for event_type, name, version in events:
        event_type = said.setdefault((name, version), event_type)
        writer.apply(Event(event_type, a_pod(name, version)))
        newest[name] = max(newest.get(name, (0, event_type)), (version, event_type))
    living = {name: v for name, (v, kind) in newest.items() if kind is not EventType.DELETED}
    assert {pod.name: int(pod.resource_version) for pod in writer.store} == living
