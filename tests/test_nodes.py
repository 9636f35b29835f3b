"""Stories about who gets which nodes, told to the pure rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from headgate.node_allocation import PATIENCE, decide, share_fairly
from headgate.node_pools import Fill, Pool, keep_ready
from headgate.nodes import PRECEDENCES, Capacity, Decline, Destroy, Grant, Launch, NodeRecord, NodeState, Offer, Plan, Refuse, Request, Size

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def cloud(name: str = "cloud", nodes: int | None = 10, *labels: str, **more: object) -> Offer:
    return Offer(name, {label: Size(2, 2048) for label in labels or ("small", "big")}, Capacity(nodes=nodes), **more)  # type: ignore[arg-type]  # a test's shorthand


def request(id: str, *labels: str, waited: float = 0, **more: object) -> Request:
    return Request(id, labels or ("small",), NOW - timedelta(seconds=waited), **more)  # type: ignore[arg-type]  # a test's shorthand


def busy(count: int, provider: str = "cloud", label: str = "small") -> list[NodeRecord]:
    return [NodeRecord(f"busy-{number}", label, provider, NodeState.IN_USE, request=f"old-{number}") for number in range(count)]


def plan(requests: Sequence[Request], nodes: Sequence[NodeRecord] = (), offers: Sequence[Offer] = (cloud(),)) -> Plan:
    return decide(requests, nodes, offers, NOW)


def launched(outcome: Plan) -> list[str]:
    return [action.request for action in outcome.actions if isinstance(action, Launch)]


def test_a_request_is_launched_where_its_label_is_offered() -> None:
    offers = [cloud("a", 10, "centos"), cloud("b", 10, "debian")]
    assert plan([request("r", "debian")], offers=offers).actions == (Launch("r", "b", "", ("debian",)),)


def test_nothing_to_do_decides_nothing() -> None:
    assert plan([]) == Plan((), {})


def test_order_is_precedence_then_relative_priority_then_age() -> None:
    requests = [
        request("young", waited=1),
        request("old", waited=60),
        request("crowded", waited=200, relative_priority=3),
        request("gate", precedence=PRECEDENCES["high"]),
        request("periodic", waited=250, precedence=PRECEDENCES["low"]),
    ]
    assert launched(plan(requests)) == ["gate", "old", "young", "crowded", "periodic"]


def test_all_nodes_of_a_request_come_from_one_provider() -> None:
    offers = [cloud("a", 2), cloud("b", 3)]
    assert plan([request("r", "small", "small", "big")], offers=offers).actions == (Launch("r", "b", "", ("small", "small", "big")),)


def test_labels_of_different_providers_cannot_be_mixed() -> None:
    offers = [cloud("a", 5, "centos"), cloud("b", 5, "debian")]
    assert plan([request("r", "centos", "debian")], offers=offers).actions == (
        Refuse("r", "no one provider has all of the labels centos, debian"),
    )


def test_unknown_label_is_refused_by_name() -> None:
    assert plan([request("r", "beos")]).actions == (Refuse("r", "no provider has the label beos"),)


def test_request_larger_than_every_provider_is_refused() -> None:
    [action] = plan([request("r", *["small"] * 4)], offers=[cloud("a", 3)]).actions
    assert action == Refuse("r", "a can never hold it (nodes: 0 of 3 taken, 4 needed)")


def test_cores_and_ram_limit_as_well_as_nodes() -> None:
    offer = Offer("a", {"small": Size(2, 2048)}, Capacity(nodes=10, cores=5))
    outcome = plan([request("1"), request("2"), request("3")], offers=[offer])
    assert launched(outcome) == ["1", "2"]
    assert outcome.waiting == {"3": "a has no room (cores: 4 of 5 taken, 2 needed)"}


def test_a_label_may_have_its_own_limit() -> None:
    offer = Offer("static", {"arm": Size(), "x86": Size()}, Capacity(nodes=4, labels={"arm": 1, "x86": 4}))
    outcome = plan([request("1", "arm"), request("2", "arm"), request("3", "x86")], offers=[offer])
    assert launched(outcome) == ["1", "3"]


def test_a_large_request_that_waits_does_not_stop_smaller_ones() -> None:
    outcome = plan([request("large", *["small"] * 5, waited=60), request("little", waited=1)], busy(7))
    assert launched(outcome) == ["little"]
    assert outcome.waiting == {"large": "cloud has no room (nodes: 7 of 10 taken, 5 needed)"}


def test_room_is_kept_for_a_large_request_that_waited_long() -> None:
    patient = PATIENCE.total_seconds()
    outcome = plan([request("large", *["small"] * 5, waited=patient), request("little", waited=1)], busy(7))
    assert launched(outcome) == []
    assert outcome.waiting["little"] == "cloud has no room (kept for request large, which waits longer)"


def test_room_is_kept_at_one_provider_only() -> None:
    patient = PATIENCE.total_seconds()
    offers = [cloud("cloud", 10), cloud("other", 10, priority=200)]
    nodes = busy(7) + [NodeRecord(f"other-{n}", "small", "other", NodeState.IN_USE) for n in range(7)]
    outcome = plan([request("large", *["small"] * 5, waited=patient), request("little", waited=1)], nodes, offers)
    assert outcome.actions == (Launch("little", "other", "", ("small",)),)


def test_the_large_request_gets_the_room_that_was_kept() -> None:
    patient = PATIENCE.total_seconds()
    outcome = plan([request("large", *["small"] * 5, waited=patient), request("little", waited=1)], busy(5))
    assert launched(outcome) == ["large"]


def test_a_steady_stream_of_small_requests_neither_starves_a_large_one_nor_stops_for_long() -> None:
    """Ten nodes, jobs of ten minutes, one that ends and a new small request each minute: without care six are never free at once."""
    running = {f"old-{number}": (1, NOW + timedelta(minutes=number)) for number in range(10)}
    waiting = [Request("large", ("small",) * 6, NOW)]
    started: dict[str, datetime] = {}
    for minute in range(60):
        now = NOW + timedelta(minutes=minute)
        waiting.append(Request(f"{minute:02}", ("small",), now))
        running = {name: (count, end) for name, (count, end) in running.items() if end > now}
        nodes = [
            NodeRecord(f"{name}-{n}", "small", "cloud", NodeState.IN_USE, request=name)
            for name, (count, _) in running.items()
            for n in range(count)
        ]
        for name in launched(decide(waiting, nodes, [cloud()], now)):
            chosen = next(one for one in waiting if one.id == name)
            waiting.remove(chosen)
            started[name] = now
            running[name] = (len(chosen.labels), now + timedelta(minutes=10))
    assert started["large"] - NOW <= PATIENCE + timedelta(minutes=10)
    before = [name for name, when in started.items() if name != "large" and when < started["large"]]
    assert len(before) >= PATIENCE // timedelta(minutes=1)
    assert max(started[f"{n:02}"] - (NOW + timedelta(minutes=n)) for n in range(10)) <= timedelta(minutes=25)


def test_ready_nodes_are_used_before_new_ones() -> None:
    ready = NodeRecord("spare", "small", "cloud", NodeState.READY)
    assert plan([request("r")], [ready]).actions == (Grant("r", "cloud", ("spare",)),)


def test_ready_nodes_are_completed_with_new_ones() -> None:
    ready = NodeRecord("spare", "small", "cloud", NodeState.READY)
    assert plan([request("r", "small", "small")], [ready]).actions == (Launch("r", "cloud", "", ("small",), ("spare",)),)


def test_a_ready_node_is_given_once() -> None:
    ready = NodeRecord("spare", "small", "cloud", NodeState.READY)
    outcome = plan([request("1", waited=2), request("2", waited=1)], [ready])
    assert outcome.actions == (Grant("1", "cloud", ("spare",)), Launch("2", "cloud", "", ("small",)))


def test_all_nodes_of_a_request_are_in_one_zone() -> None:
    offer = cloud(zones=("north", "south"))
    spare = NodeRecord("spare", "small", "cloud", NodeState.READY, zone="south")
    assert plan([request("r", "small", "small")], [spare], [offer]).actions == (Launch("r", "cloud", "south", ("small",), ("spare",)),)


def test_lower_priority_number_is_preferred() -> None:
    assert plan([request("r")], offers=[cloud("dear"), cloud("cheap", priority=50)]).actions == (Launch("r", "cheap", "", ("small",)),)


def test_equal_providers_share_the_load() -> None:
    outcome = plan([request(str(number)) for number in range(4)], offers=[cloud("a"), cloud("b")])
    assert [action.provider for action in outcome.actions if isinstance(action, Launch)] == ["a", "b", "a", "b"]


def test_a_provider_that_said_full_is_left_alone() -> None:
    offers = [cloud("a", full=True), cloud("b", priority=200)]
    assert plan([request("r")], offers=offers).actions == (Launch("r", "b", "", ("small",)),)
    assert plan([request("r")], offers=offers[:1]).waiting == {"r": "a has no room (it said so)"}


def test_a_request_waits_until_all_its_nodes_are_ready() -> None:
    nodes = [
        NodeRecord("n1", "small", "cloud", NodeState.READY, request="r"),
        NodeRecord("n2", "big", "cloud", NodeState.BUILDING, request="r"),
    ]
    outcome = plan([request("r", "small", "big", provider="cloud")], nodes)
    assert outcome == Plan((), {"r": "1 of 2 nodes are starting at cloud"})


def test_nodes_are_granted_in_the_order_of_the_labels() -> None:
    nodes = [
        NodeRecord("n1", "small", "cloud", NodeState.READY, request="r"),
        NodeRecord("n2", "big", "cloud", NodeState.READY, request="r"),
        NodeRecord("n3", "small", "cloud", NodeState.READY, request="r"),
    ]
    assert plan([request("r", "big", "small", "small", provider="cloud")], nodes).actions == (Grant("r", "cloud", ("n2", "n1", "n3")),)


def test_a_failed_node_is_replaced_at_the_same_provider() -> None:
    nodes = [
        NodeRecord("n1", "small", "cloud", NodeState.READY, request="r"),
        NodeRecord("n2", "big", "cloud", NodeState.FAILED, request="r"),
    ]
    outcome = plan([request("r", "small", "big", provider="cloud", failures=1)], nodes)
    assert outcome.actions == (Destroy("n2"), Launch("r", "cloud", "", ("big",)))


def test_a_provider_that_fails_too_often_is_declined_and_the_next_is_asked() -> None:
    offers = [cloud("a"), cloud("b", priority=200)]
    nodes = [NodeRecord("n1", "small", "a", NodeState.FAILED, request="r")]
    assert plan([request("r", provider="a", failures=3)], nodes, offers).actions == (Decline("r", "a", ("n1",)),)
    assert plan([request("r", declined=frozenset({"a"}))], offers=offers).actions == (Launch("r", "b", "", ("small",)),)


def test_a_request_that_every_provider_declined_is_refused() -> None:
    [action] = plan([request("r", declined=frozenset({"cloud"}))]).actions
    assert action == Refuse("r", "every provider failed to launch it (cloud)")


def test_a_provider_taken_out_of_the_configuration_is_declined() -> None:
    assert plan([request("r", provider="gone")]).actions == (Decline("r", "gone", ()),)


def test_failed_and_deleting_nodes_still_take_room() -> None:
    nodes = [NodeRecord("n1", "small", "cloud", NodeState.DELETING), NodeRecord("n2", "small", "cloud", NodeState.FAILED)]
    assert launched(plan([request("r")], nodes, [cloud("cloud", 2)])) == []


def test_a_tenant_at_its_limit_waits_and_stops_nobody() -> None:
    nodes = [NodeRecord("n1", "small", "cloud", NodeState.IN_USE, request="old", tenant="greedy")]
    requests = [request("mine", tenant="greedy", waited=900), request("yours", tenant="modest")]
    outcome = decide(requests, nodes, [cloud()], NOW, {"greedy": Capacity(nodes=1)})
    assert launched(outcome) == ["yours"]
    assert outcome.waiting == {"mine": "tenant greedy is at its limit (nodes: 1 of 1 taken, 1 needed)"}


def test_a_tenant_limit_counts_what_is_launched_in_the_same_pass() -> None:
    requests = [request(str(number), tenant="greedy") for number in range(3)]
    assert launched(decide(requests, [], [cloud()], NOW, {"greedy": Capacity(cores=4)})) == ["0", "1"]


def test_a_request_larger_than_its_tenants_limit_is_refused() -> None:
    [action] = decide([request("r", "small", "small", tenant="t")], [], [cloud()], NOW, {"t": Capacity(nodes=1)}).actions
    assert action == Refuse("r", "for ever: tenant t is at its limit (nodes: 0 of 1 taken, 2 needed)")


def test_no_more_launches_are_under_way_than_a_provider_may_have() -> None:
    offer = cloud(max_concurrency=2)
    nodes = [NodeRecord("n1", "small", "cloud", NodeState.BUILDING, request="other")]
    outcome = plan([request("1"), request("2")], nodes, [offer])
    assert launched(outcome) == ["1"]
    assert outcome.waiting == {"2": "cloud has no room (2 of at most 2 launches are under way)"}
    assert launched(plan([request("large", "small", "small", "small")], [], [offer])) == ["large"]


def test_a_ready_node_that_reaches_nobody_is_not_one_of_several() -> None:
    ready = NodeRecord("spare", "small", "cloud", NodeState.READY)
    offer = cloud(separate_networks=True)
    assert plan([request("r", "small", "small")], [ready], [offer]).actions == (Launch("r", "cloud", "", ("small", "small")),)
    assert plan([request("r")], [ready], [offer]).actions == (Grant("r", "cloud", ("spare",)),)


def test_requests_of_a_busy_project_come_after_the_first_of_others() -> None:
    requests = [request("nova-1", waited=9), request("nova-2", waited=8), request("nova-3", waited=7), request("swift-1", waited=1)]
    shared = share_fairly(requests, {one.id: one.id.partition("-")[0] for one in requests})
    assert launched(plan(shared)) == ["nova-1", "swift-1", "nova-2", "nova-3"]


class TestPools:
    def test_a_pool_is_filled_where_it_is_cheapest(self) -> None:
        offers = [cloud("dear"), cloud("cheap", priority=50)]
        assert keep_ready([Pool("small", 2)], [], [], offers, NOW) == (Fill("small", "cheap", ""), Fill("small", "cheap", ""))

    def test_what_is_ready_or_on_its_way_counts(self) -> None:
        nodes = [NodeRecord("n1", "small", "cloud", NodeState.READY), NodeRecord("n2", "small", "cloud", NodeState.BUILDING)]
        assert keep_ready([Pool("small", 2)], [], nodes, [cloud()], NOW) == ()

    def test_who_waits_goes_before_a_pool(self) -> None:
        assert keep_ready([Pool("small", 1)], [request("r", "big")], busy(9), [cloud()], NOW) == ()

    def test_an_old_ready_node_is_replaced(self) -> None:
        node = NodeRecord("n1", "small", "cloud", NodeState.READY, changed=NOW - timedelta(hours=2))
        pool = Pool("small", 1, timedelta(hours=1))
        assert keep_ready([pool], [], [node], [cloud()], NOW) == (Destroy("n1"), Fill("small", "cloud", ""))

    def test_a_node_of_a_pool_that_failed_is_destroyed(self) -> None:
        nodes = [NodeRecord("n1", "small", "cloud", NodeState.FAILED), NodeRecord("n2", "small", "cloud", NodeState.FAILED, request="r")]
        assert keep_ready([], [], nodes, [cloud()], NOW) == (Destroy("n1"),)
