"""Logs that a store does not take: tried again later and later, then no more; one build's never keep others waiting."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import flows.publishing
from flows.publishing import publish_build, publish_left_logs
from headgate.publication import GIVEN_UP, SOONEST, next_try
from headgate.records import Build
from headgate.settings import LogSettings
from tasks.log_storage import StorageProblem
from tasks.runtime import Runtime
from tasks.store import Store
from tests.test_store import build, buildset_in, item

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def tries(ended: datetime) -> Iterator[timedelta]:
    now: datetime | None = ended
    while (now := next_try(ended, now)) is not None:
        yield now - ended


def test_each_pause_is_as_long_as_all_before_it_and_a_day_later_it_is_given_up() -> None:
    ages = list(tries(NOON))
    assert ages[:4] == [SOONEST * factor for factor in (1, 2, 4, 8)]
    assert len(ages) == 10
    assert ages[-2] < GIVEN_UP <= ages[-1]


class Shop:
    """A store of logs that refuses those builds that it was told to."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def publish(self, build_id: str, title: str) -> str:
        self.asked.append(build_id)
        if build_id in self.refused:
            raise StorageProblem("S3 bucket logs: Access Denied.")
        return f"https://logs/{build_id}/"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop()
    monkeypatch.setattr(flows.publishing, "publish_logs", shop.publish)
    monkeypatch.setattr(flows.publishing, "publish_logs_once", shop.publish)
    return shop


@pytest.fixture
def this(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """As much of a worker as publishes logs."""
    settings = SimpleNamespace(logs=LogSettings(driver="s3"), state=tmp_path)
    this = cast(Runtime, SimpleNamespace(store=store, settings=settings, home=None))

    async def runtime() -> Any:
        return this

    monkeypatch.setattr(flows.publishing, "runtime", runtime)
    return this


async def ended_build(this: Runtime, job: str, age: timedelta = timedelta(0)) -> str:
    there = item()
    buildset = await buildset_in(this.store, there)
    begun = await this.store.begin_build(build(buildset, job))
    now = datetime.now(UTC)
    await this.store.end_build(begun.id, "SUCCESS", unpublished=now)
    await this.store.set_build(begun.id, ended=now - age)
    (this.settings.state / "builds" / begun.id / "logs").mkdir(parents=True)
    return begun.id


async def known(this: Runtime, build_id: str) -> Build:
    found = await this.store.build(build_id)
    assert found is not None
    return found


async def test_what_a_store_refuses_is_tried_again_later_and_its_page_says_so(this: Runtime, shop: Shop) -> None:
    build_id = await ended_build(this, "a")
    shop.refused = {build_id}
    assert not await publish_build(this, build_id, "a on 1,2")
    (said,) = (await known(this, build_id)).warnings
    assert said.startswith("The logs are not published: S3 bucket logs: Access Denied. They are tried again from ")
    assert await publish_left_logs() == 0
    assert shop.asked == [build_id]  # it is not time yet
    await this.store.set_build(build_id, unpublished=datetime.now(UTC))
    shop.refused = set()
    assert await publish_left_logs() == 1
    found = await known(this, build_id)
    assert (found.warnings, found.data["zuul"]["log_url"]) == ((), f"https://logs/{build_id}/")


async def test_what_a_store_refuses_for_a_day_is_given_up_with_a_last_word(this: Runtime, shop: Shop) -> None:
    build_id = await ended_build(this, "a", age=GIVEN_UP)
    shop.refused = {build_id}
    assert await publish_left_logs() == 0
    (said,) = (await known(this, build_id)).warnings
    assert said.startswith(
        "The logs are not published: S3 bucket logs: Access Denied. This is not tried any more; they are where they were"
    )
    assert await this.store.unpublished_builds() == []
    assert (await known(this, build_id)).result == "SUCCESS"


async def test_a_store_that_takes_nothing_is_asked_three_times_in_a_pass_and_other_builds_come_first_in_the_next(
    this: Runtime, shop: Shop
) -> None:
    builds = [await ended_build(this, "a", age=timedelta(minutes=minute)) for minute in range(5)]
    shop.refused = set(builds[:3])
    assert await publish_left_logs() == 0
    assert shop.asked == builds[:3]
    assert await publish_left_logs() == 2
    assert shop.asked == builds
