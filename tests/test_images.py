"""The rules of images: what is built, what is used, what may go. Tables for the decisions, properties for what must never happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.images import (
    Boot,
    Build,
    BuildState,
    DeleteFiles,
    DeleteUpload,
    DropFormat,
    Policy,
    Upload,
    UploadState,
    Withdraw,
    current,
    format_for,
    needed_bytes,
    retention,
    rollbacks,
    why_build,
)

NOW = datetime(2026, 11, 22, 14, 14, tzinfo=UTC)
DAY = timedelta(days=1)


def build(name: str, days: float = 0, state: BuildState = BuildState.READY, image: str = "debian", **sizes: int) -> Build:
    return Build(name, image, state, NOW - days * DAY, sizes or {"qcow2": 100})


def upload(
    name: str, of: str, days: float = 0, state: UploadState = UploadState.READY, provider: str = "cloud", image: str = "debian"
) -> Upload:
    promoted = NOW - days * DAY if state in (UploadState.READY, UploadState.WITHDRAWN, UploadState.DELETING) else None
    return Upload(name, of, image, provider, "qcow2", state, NOW - days * DAY, promoted=promoted)


POLICIES = {"debian": Policy({"cloud": "qcow2"}), "fedora": Policy({"cloud": "qcow2"})}


@pytest.mark.parametrize(
    ("builds", "paused", "asked", "why"),
    [
        ([], False, False, "there is no build of it"),
        ([], True, False, ""),
        ([], True, True, "asked for"),
        ([build("b", 0.5)], False, False, ""),
        ([build("b", 0.5)], False, True, "asked for"),
        ([build("b", 1)], False, False, "the newest build is 1 d 0 h old"),
        ([build("b", 1)], True, False, ""),
        ([build("b", 0.5), build("c", 3)], False, False, ""),
        ([build("b", 0.1, BuildState.FAILED), build("c", 3)], False, False, "the newest build is 3 d 0 h old"),
        ([build("b", 0, BuildState.BUILDING), build("c", 3)], False, True, ""),
        ([build("b", 0.5, raw=1)], False, False, "the newest build has no qcow2"),
    ],
)
def test_when_an_image_is_built(builds: list[Build], paused: bool, asked: bool, why: str) -> None:
    assert why_build(builds, {"qcow2"}, DAY, NOW, paused=paused, asked=asked) == why


@pytest.mark.parametrize(
    ("uploads", "used"),
    [
        ([], None),
        ([upload("u1", "b1", 2), upload("u2", "b2", 1)], "u2"),
        ([upload("u1", "b1", 2), upload("u2", "b2", 1, UploadState.PROVING)], "u1"),
        ([upload("u1", "b1", 2), upload("u2", "b2", 1, UploadState.REFUSED)], "u1"),
        ([upload("u1", "b1", 2), upload("u2", "b2", 1, UploadState.WITHDRAWN)], "u1"),
        ([upload("u1", "b1", 2), upload("u2", "b2", 1, provider="other")], "u1"),
        ([upload("u1", "b1", 2, UploadState.FAILED)], None),
        ([upload("u1", "b1", 0.5), upload("u2", "b2", 1)], "u1"),  # an older build that a person promoted
    ],
)
def test_what_nodes_start_from(uploads: list[Upload], used: str | None) -> None:
    found = current(uploads, "debian", "cloud")
    assert (found.id if found else None) == used


def boots(name: str, *failed: str, since: timedelta = timedelta(hours=1)) -> list[Boot]:
    return [Boot(name, NOW - since + timedelta(minutes=number), said) for number, said in enumerate(failed)]


TWO = [upload("u1", "b1", 1), upload("u2", "b2", 0.5)]


@pytest.mark.parametrize(
    ("uploads", "ends", "withdrawn"),
    [
        (TWO, boots("u2", "no ssh", "no ssh", "no ssh"), ["u2"]),
        (TWO, boots("u2", "no ssh", "no ssh"), []),
        (TWO, boots("u2", "no ssh", "", "no ssh"), []),
        (TWO, boots("u2", "", "no ssh", "no ssh", "no ssh"), ["u2"]),
        (TWO, boots("u2", "x", "x", "x", since=timedelta(hours=13)), []),  # before the promotion
        (TWO[1:], boots("u2", "x", "x", "x"), []),  # nothing to go back to
        ([upload("u1", "b1", 9), upload("u2", "b2", 2)], boots("u2", "x", "x", "x"), []),  # no longer new
        ([*TWO, upload("f1", "f", 5, image="fedora")], [*boots("u2", "x", "x", "x"), *boots("f1", "x")], []),  # the cloud's fault
        ([*TWO, upload("f1", "f", 5, image="fedora")], [*boots("u2", "x", "x", "x"), *boots("f1", "x", "")], ["u2"]),
    ],
)
def test_what_is_withdrawn(uploads: list[Upload], ends: list[Boot], withdrawn: list[str]) -> None:
    assert [each.upload for each in rollbacks(uploads, ends, NOW)] == withdrawn


def test_a_withdrawal_says_why_and_what_is_used_instead() -> None:
    assert rollbacks(TWO, boots("u2", "no ssh", "no ssh", "no banner"), NOW) == (
        Withdraw("u2", "u1", "3 nodes in a row did not come up; the last: no banner"),
    )


def test_two_newest_good_builds_are_kept() -> None:
    builds = [build(f"b{n}", n) for n in range(5)]
    assert retention(builds, [], (), POLICIES) == (DeleteFiles("b2"), DeleteFiles("b3"), DeleteFiles("b4"))


def test_a_refused_build_does_not_push_out_a_good_one() -> None:
    builds = [build("bad", 1), build("b1", 2), build("b2", 3)]
    refused = upload("u", "bad", 1, UploadState.REFUSED)
    assert retention(builds, [refused], (), POLICIES) == (), "it stays to be looked at, and says why"
    good = upload("n", "new", 0)
    later = retention([build("new", 0), *builds], [good, refused], (), POLICIES)
    assert later == (DeleteUpload("u"), DeleteFiles("bad"), DeleteFiles("b2")), "until there is a newer one that is good"


def test_what_a_node_runs_on_stays_with_its_build() -> None:
    builds = [build(f"b{n}", n) for n in range(4)]
    uploads = [upload(f"u{n}", f"b{n}", n) for n in range(4)]
    assert retention(builds, uploads, {"u3"}, POLICIES) == (DeleteUpload("u2"), DeleteFiles("b2"))


def test_an_image_that_is_no_longer_configured_goes_once_it_is_unused() -> None:
    builds, uploads = [build("b", 1)], [upload("u", "b", 1)]
    assert retention(builds, uploads, {"u"}, {}) == ()
    assert retention(builds, uploads, (), {}) == (DeleteUpload("u"), DeleteFiles("b"))


def test_a_file_goes_when_every_provider_has_it() -> None:
    policies = {"debian": Policy({"cloud": "qcow2", "other": "raw"}, delete_after_upload=True, keep_formats=("raw",))}
    builds = [build("b", 1, qcow2=1, raw=1)]
    assert retention(builds, [], (), policies) == ()
    uploads = [upload("u", "b", 1), upload("v", "b", 1, provider="other")]
    assert retention(builds, uploads[:1], (), policies) == (DropFormat("b", "qcow2"),)
    assert retention(builds, uploads, (), policies) == (DropFormat("b", "qcow2"),)


def test_disk_space_is_judged_by_the_builds_before() -> None:
    assert needed_bytes([]) == 6_000_000_000
    assert needed_bytes([build("b", 1, qcow2=2_000_000_000, raw=3_000_000_000)]) == 10_000_000_000


def test_a_format_is_the_one_the_image_has_if_the_provider_takes_it() -> None:
    assert format_for(("qcow2", "raw"), ("raw",)) == "raw"
    assert format_for(("qcow2", "raw"), ()) == "qcow2"
    assert format_for(("tar",), ("vhd",)) == "tar"


names = st.integers(0, 5)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Build], list[Upload], set[str]]:
    builds = [
        build(f"b{n}", draw(st.floats(0, 9)), draw(st.sampled_from(BuildState)), draw(st.sampled_from(["debian", "fedora", "gone"])))
        for n in range(draw(names))
    ]
    uploads = [
        upload(
            f"u{n}-{of.id}",
            of.id,
            draw(st.floats(0, 9)),
            draw(st.sampled_from(UploadState)),
            draw(st.sampled_from(["cloud", "other"])),
            of.image,
        )
        for of in builds
        for n in range(draw(st.integers(0, 2)))
    ]
    used = {each.id for each in uploads if draw(st.booleans())}
    return builds, uploads, used


@given(worlds())
def test_nothing_in_use_and_nothing_current_ever_goes(world: tuple[list[Build], list[Upload], set[str]]) -> None:
    builds, uploads, used = world
    actions = retention(builds, uploads, used, POLICIES)
    gone = {action.upload for action in actions if isinstance(action, DeleteUpload)}
    left = [each for each in uploads if each.id not in gone]
    assert not [each for each in uploads if each.id in gone & used and each.state is not UploadState.DELETING]
    for image in POLICIES:
        assert current(left, image, "cloud") == current(uploads, image, "cloud")
    files_gone = {action.build for action in actions if isinstance(action, DeleteFiles)}
    assert not files_gone & {each.build for each in left}


@given(worlds())
def test_retention_done_once_is_done(world: tuple[list[Build], list[Upload], set[str]]) -> None:
    builds, uploads, used = world
    actions = retention(builds, uploads, used, POLICIES)
    gone = {action.upload for action in actions if isinstance(action, DeleteUpload)}
    files_gone = {action.build for action in actions if isinstance(action, DeleteFiles)}
    builds = [each for each in builds if each.id not in files_gone]
    assert retention(builds, [each for each in uploads if each.id not in gone], used - gone, POLICIES) == ()


@given(worlds(), st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["", "no ssh"])), max_size=12))
def test_a_rollback_always_leaves_something_to_start_from(
    world: tuple[list[Build], list[Upload], set[str]], ends: list[tuple[int, str]]
) -> None:
    _, uploads, _ = world
    told = [Boot(uploads[n % len(uploads)].id, NOW - timedelta(minutes=m), said) for m, (n, said) in enumerate(ends) if uploads]
    for each in rollbacks(uploads, told, NOW):
        left = [one for one in uploads if one.id != each.upload]
        bad = next(one for one in uploads if one.id == each.upload)
        found = current(left, bad.image, bad.provider)
        assert found is not None
        assert found.id == each.instead
