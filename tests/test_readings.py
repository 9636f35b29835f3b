"""What is read of changes and how they hang together, on two real servers without a process: directories of repositories."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pygit2
import pytest

import tasks.readings
from headgate.changes import Change, Linked
from headgate.depends_on import addresses_in
from headgate.gating import Key
from headgate.gerrit_links import change_number
from tasks.connection_settings import LocalGitSettings
from tasks.connections import ConnectionProblem
from tasks.local_git import LocalGitConnection
from tasks.local_receive import receive
from tasks.local_reviews import Reviews
from tasks.readings import Readings, TooManyLinks

ALICE = pygit2.Signature("alice", "alice@example.org")


class Counted(LocalGitConnection):
    """Remembers what it was asked."""

    def __init__(self, settings: LocalGitSettings) -> None:
        super().__init__(settings)
        self.asked: Counter[str] = Counter()

    async def linked(self, number: int, patchset: int | None = None) -> Linked:
        self.asked[f"linked {number}"] += 1
        return await super().linked(number, patchset)

    async def depending_on(self, change: Change) -> tuple[int, ...]:
        self.asked[f"depending on {change.connection} {change.number}"] += 1
        return await super().depending_on(change)


class Place:
    """One server with one project, in which commits become changes without a clone."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.reviews = Reviews(root)
        self.repository = pygit2.Repository(str(self.reviews.create_project("org/demo")))
        self.connection = Counted(LocalGitSettings(name=name, path=root, canonical_hostname=f"{name}.example.org"))

    def push(self, message: str = "A change", on: int | None = None, amends: int | None = None, options: tuple[str, ...] = ()) -> int:
        """A change or, with `amends`, a new patchset; on the branch or on top of a change's current patchset."""
        parent = self.sha(on) if on else str(self.repository.branches.local["main"].target)
        tree = self.repository[parent].peel(pygit2.Tree).id
        sha = self.repository.create_commit(None, ALICE, ALICE, f"{message}\n\n{self.reviews.last_seq()}\n", tree, [parent])
        named = [f"change={amends}"] if amends else []
        said = receive(self.reviews, "org/demo", "main", str(sha), [*named, *options], "alice")
        return int(next(line.split()[1].split(",")[0] for line in reversed(said) if "(new" in line))

    def sha(self, number: int) -> str:
        return str(self.reviews.read(number)["patchsets"][-1]["sha"])

    def set_status(self, number: int, status: str) -> None:
        with self.reviews.transaction() as database:
            self.reviews.set_status(database, number, status, 1, "alice", "")

    def key(self, number: int, patchset: int = 1) -> Key:
        return (self.name, number, patchset)


@pytest.fixture
def one(tmp_path: Path) -> Place:
    return Place(tmp_path / "one", "one")


@pytest.fixture
def two(tmp_path: Path) -> Place:
    return Place(tmp_path / "two", "two")


@pytest.fixture
def readings(one: Place, two: Place) -> Readings:
    return Readings({"one": one.connection, "two": two.connection})


async def test_reading_one_of_a_series_reads_all_of_it_once(one: Place, readings: Readings) -> None:
    first = one.push()
    second = one.push(on=first)
    third = one.push(on=second)
    await readings.read(one.key(third))
    await readings.read(one.key(first))
    middle = readings.known(one.key(second))
    assert (middle.git_needs, middle.needed_by) == ((one.key(first),), (one.key(third),))
    assert one.connection.asked == {"linked 1": 2, "linked 2": 1, "linked 3": 1}
    assert readings.project(one.key(first)) == "one.example.org/org/demo"


async def test_depends_on_leads_to_another_server_and_to_its_current_patchset(one: Place, two: Place, readings: Readings) -> None:
    needed = two.push()
    sayer = one.push(f"Use it\n\nDepends-On: two:{needed}\nDepends-On: https://example.com/7")
    await readings.read(one.key(sayer))
    assert readings.said_needs(one.key(sayer)) == (two.key(needed),)
    two.push(amends=needed)
    await readings.read(two.key(needed, 2))
    assert readings.said_needs(one.key(sayer)) == (two.key(needed, 2),)
    assert not readings.known(two.key(needed)).change.current
    assert readings.depending_on(two.key(needed, 2)) == (one.key(sayer),)
    two.set_status(needed, "MERGED")
    await readings.read(two.key(needed, 2))
    assert readings.said_needs(one.key(sayer)) == ()


async def test_change_id_means_every_open_change_that_has_it_and_comes_first(one: Place, readings: Readings) -> None:
    by_id = one.push(f"Needed\n\nChange-Id: I{'a' * 40}")
    by_address = one.push()
    sayer = one.push(f"Use it\n\nDepends-On: one:{by_address}\nDepends-On: I{'a' * 40}")
    await readings.read(one.key(sayer))
    assert readings.said_needs(one.key(sayer)) == (one.key(by_id), one.key(by_address))


async def test_changes_that_depend_on_each_other_are_both_read(one: Place, two: Place, readings: Readings) -> None:
    first = one.push("One\n\nDepends-On: two:1")
    second = two.push("Other\n\nDepends-On: one:1")
    await readings.read(one.key(first))
    assert readings.said_needs(two.key(second)) == (one.key(first),)
    assert readings.said_needs(one.key(first)) == (two.key(second),)


async def test_dependents_are_searched_for_once_and_those_of_what_is_needed_too(one: Place, two: Place, readings: Readings) -> None:
    below = one.push()
    first = one.push(on=below)
    sayer, other = two.push(f"Use\n\nDepends-On: one:{first}"), two.push(f"Use\n\nDepends-On: one:{below}")
    await readings.read(one.key(first))
    assert readings.depending_on(one.key(first)) == ()
    await readings.read(one.key(first), search=True)
    assert readings.depending_on(one.key(first)) == (two.key(sayer),)
    assert readings.depending_on(one.key(below)) == (two.key(other),)
    await readings.read(one.key(first), search=True)
    asked = two.connection.asked
    assert (asked[f"depending on one {first}"], asked[f"depending on one {below}"]) == (2, 1)
    late = two.push(f"Use\n\nDepends-On: one:{below}")
    await readings.read(two.key(late), search=True)
    assert readings.depending_on(one.key(below)) == (two.key(other), two.key(late))


async def test_topic_leads_to_its_open_changes_and_to_topics_of_their_parents(one: Place, readings: Readings) -> None:
    below = one.push(options=("topic=lower",))
    beside = one.push(options=("topic=lower",))
    upper = one.push(on=below, options=("topic=upper",))
    first = one.push(options=("topic=upper",))
    gone = one.push(options=("topic=upper",))
    one.set_status(gone, "ABANDONED")
    await readings.read(one.key(first))
    assert readings.same_topic(one.key(first)) == (one.key(first),)
    await readings.read(one.key(first), topics=True)
    assert set(readings.same_topic(one.key(first))) == {one.key(each) for each in (first, upper, below, beside)}
    assert set(readings.same_topic(one.key(below))) == {one.key(below), one.key(beside)}


async def test_change_that_was_closed_keeps_its_links(one: Place, readings: Readings) -> None:
    first, needed = one.push(), one.push()
    second = one.push(f"Second\n\nDepends-On: one:{needed}", on=first)
    await readings.read(one.key(second))
    one.set_status(second, "ABANDONED")
    await readings.read(one.key(second))
    known = readings.known(one.key(second))
    assert (known.change.open, known.git_needs, readings.said_needs(one.key(second))) == (False, (one.key(first),), (one.key(needed),))
    assert readings.known(one.key(first)).needed_by == () and readings.depending_on(one.key(needed)) == ()


async def test_what_does_not_exist_is_no_dependency_but_a_patchset_asked_for_must(one: Place, readings: Readings) -> None:
    sayer = one.push("Use it\n\nDepends-On: one:99")
    await readings.read(one.key(sayer))
    assert readings.said_needs(one.key(sayer)) == ()
    for key in (one.key(99), one.key(sayer, 2)):
        with pytest.raises(LookupError):
            await readings.read(key)
        with pytest.raises(LookupError, match="never read"):
            readings.known(key)


async def test_failure_in_the_middle_leaves_everything_as_it_was(one: Place, two: Place, readings: Readings) -> None:
    needed = two.push()
    sayer = one.push("A change")
    await readings.read(one.key(sayer))
    one.push(f"Use it\n\nDepends-On: two:{needed}", amends=sayer)
    shutil.rmtree(two.reviews.home)
    (two.reviews.root / ".headgate").write_text("in the way")
    with pytest.raises(ConnectionProblem, match="two"):
        await readings.read(one.key(sayer, 2))
    assert readings.current("one", sayer) == one.key(sayer)


async def test_what_nothing_kept_leads_to_is_forgotten(one: Place, two: Place, readings: Readings) -> None:
    first = one.push()
    second = one.push(f"Second\n\nDepends-On: two:{two.push()}", on=first)
    other = one.push()
    for number in (second, other):
        await readings.read(one.key(number))
    readings.forget([one.key(first)])
    assert readings.current("two", 1) and readings.current("one", second) and readings.current("one", other) is None
    readings.forget([])
    assert not readings.readings and not readings.searched


async def test_change_that_needs_too_many_is_not_there(one: Place, readings: Readings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.readings, "MOST_CHANGES", 3)
    numbers = [one.push() for _ in range(4)]
    hoarder = one.push("Wants all\n\n" + "".join(f"Depends-On: one:{number}\n" for number in numbers))
    with pytest.raises(TooManyLinks, match="more than 3"):
        await readings.read(one.key(hoarder))
    honest = one.push(f"Wants it\n\nDepends-On: one:{hoarder}")
    with pytest.raises(LookupError):
        await readings.read(one.key(honest))
    assert not readings.readings


async def test_crowd_of_those_that_need_a_change_keeps_nobody_from_reading_it(
    one: Place, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.readings, "MOST_CHANGES", 3)
    below = one.push()
    first = one.push(on=below)
    crowd = [one.push(on=first) for _ in range(6)]
    await readings.read(one.key(first), search=True)
    known = readings.known(one.key(first))
    assert (known.git_needs, known.needed_by) == ((one.key(below),), ())
    await readings.read(one.key(crowd[0]))
    assert readings.known(one.key(first)).needed_by == (one.key(crowd[0]),)


ADDRESSES: Mapping[str, int | None] = {
    "https://review.example.org/1234": 1234,
    "https://review.example.org/r/1234/": None,
    "http://review.example.org:8080/#/c/1234/5": 1234,
    "https://review.example.org/c/org/name/+/1234/5/dir/file": 1234,
    "https://REVIEW.example.org/c/1234": None,
    "https://other.example.org/1234": None,
    "https://review.example.org/q/1234": None,
    "https://review.example.org/": None,
    "//review.example.org/1234": 1234,
    "review.example.org/1234": None,
    "https://[review.example.org/1234": None,
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_of_a_gerrit_is_taken_in_all_its_forms(address: str) -> None:
    assert change_number(address, ["review.example.org", ""], "") == ADDRESSES[address]


def test_address_below_a_path_is_taken_only_there() -> None:
    assert change_number("https://review.example.org/r/c/org/name/+/7", ["review.example.org"], "/r") == 7
    assert change_number("https://review.example.org/c/org/name/+/7", ["review.example.org"], "/r") is None


def test_depends_on_counts_at_the_start_of_a_line_in_any_case() -> None:
    message = "Subject\n\nDepends-On: a\nDEPENDS-ON:b  \r\n Depends-On: no\nSee Depends-On: no\nDepends-On:\ndepends-on: a\nDepends-On: c d"
    assert addresses_in(message) == ("a", "b", "c d")
    assert addresses_in("Depends-On:" + " " * 1_000_000 + "x\n") == ("x",)


async def test_changes_that_come_to_need_each_other_are_read_as_they_are_now(one: Place, readings: Readings) -> None:
    first = one.push("The first")
    await readings.read(one.key(first), search=True)
    second = one.push(f"The second\n\nDepends-On: one:{first}")
    await readings.read(one.key(second), search=True)
    readings.forget(())
    one.push(f"The first\n\nDepends-On: one:{second}", amends=first)
    await readings.read(one.key(first, 2), search=True)
    assert readings.said_needs(one.key(first, 2)) == (one.key(second),)
    assert readings.said_needs(one.key(second)) == (one.key(first, 2),)
