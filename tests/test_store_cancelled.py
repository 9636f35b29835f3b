"""Changes whose run somebody cancelled, and one worker at a time, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

from headgate.builds import CANCELED, SUCCESS, results
from headgate.queues import CANCELLED
from tasks.store import Store
from tests.test_store import build, buildset_in, item


async def test_a_cancelled_item_comes_back_without_the_results_that_are_none(store: Store) -> None:
    there = item()
    buildset = await buildset_in(store, there)
    for job, result in (("a", SUCCESS), ("b", CANCELED)):
        begun = await store.begin_build(build(buildset, job))
        await store.end_build(begun.id, result)
    await store.leave_cancelled(there.id)
    left = await store.item(there.id)
    assert left is not None
    assert (left.live, left.reason) == (False, CANCELLED)
    assert await store.unfinished_items() == []

    assert await store.come_back(there.id)

    assert [each.id for each in await store.live_items()] == [there.id]
    assert results(await store.builds(buildset.id)) == {"a": SUCCESS}
    assert not await store.come_back(there.id)


async def test_a_cancelled_item_does_not_come_back_beside_another_of_the_same_change(store: Store) -> None:
    there, again = item(), item()
    await store.apply(None, [there], ())
    await store.leave_cancelled(there.id)
    await store.apply(None, [again], ())
    assert not await store.come_back(there.id)
    assert [each.id for each in await store.live_items()] == [again.id]


async def test_an_item_that_left_for_another_reason_is_not_called_cancelled(store: Store) -> None:
    there = item()
    await store.apply(None, [there], [(there.id, "abandoned")])
    await store.leave_cancelled(there.id)
    left = await store.item(there.id)
    assert left is not None
    assert left.reason == "abandoned"
    assert not await store.come_back(there.id)


async def test_only_one_is_inside_for_a_name(store: Store) -> None:
    inside: list[str] = []

    async def enter(name: str) -> None:
        async with store.alone(name):
            assert name not in inside
            inside.append(name)
            await asyncio.sleep(0)
            await store.live_items()
            inside.remove(name)

    await asyncio.gather(*(enter(name) for name in ("jobs", "changes", "jobs")))
