"""tasks.git against repositories made by git itself; `git merge` is the oracle."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tasks.git import Caches, Conflict, GitProblem, Merged, condense
from tests.services.upstream import Upstream

PROJECT = "review.example.org/org/nova"


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches(tmp_path / "caches")


async def fetch(caches: Caches, upstream: Upstream, *changes: int) -> None:
    await caches.fetch(PROJECT, str(upstream.path), refs=[f"refs/changes/{number}/1" for number in changes])


async def test_fetch_brings_branches_tags_and_only_the_asked_changes(upstream: Upstream, caches: Caches) -> None:
    upstream.git("tag", "v1")
    upstream.git("branch", "stable/one")
    first = upstream.change(1, {"b.txt": "b\n"})
    upstream.change(2, {"c.txt": "c\n"})
    await fetch(caches, upstream, 1)
    assert await caches.branches(PROJECT) == {"main": upstream.git("rev-parse", "main"), "stable/one": upstream.git("rev-parse", "main")}
    assert await caches.resolve(PROJECT, "refs/changes/1/1") == first
    assert await caches.resolve(PROJECT, "v1") == upstream.git("rev-parse", "v1")
    with pytest.raises(LookupError, match=r"no branch, tag, ref or commit refs/changes/2/1"):
        await caches.resolve(PROJECT, "refs/changes/2/1")


async def test_a_branch_deleted_upstream_vanishes_but_what_is_kept_stays(upstream: Upstream, caches: Caches) -> None:
    upstream.git("branch", "old")
    change = upstream.change(1, {"b.txt": "b\n"})
    await fetch(caches, upstream, 1)
    await caches.merge(PROJECT, "main", [change], keep="item-1")
    upstream.git("branch", "-D", "old")
    await fetch(caches, upstream)
    assert "old" not in await caches.branches(PROJECT)
    assert await caches.resolve(PROJECT, "refs/headgate/item-1") == change
    await caches.forget(PROJECT, "item-1")
    await caches.forget(PROJECT, "item-1")
    with pytest.raises(LookupError):
        await caches.resolve(PROJECT, "refs/headgate/item-1")


async def test_a_change_on_the_tip_is_fast_forwarded(upstream: Upstream, caches: Caches) -> None:
    change = upstream.change(1, {"b.txt": "b\n"})
    await fetch(caches, upstream, 1)
    assert await caches.merge(PROJECT, "main", ["refs/changes/1/1"]) == Merged(change, upstream.git("rev-parse", f"{change}^{{tree}}"))


@pytest.mark.parametrize("mode", ["merge", "merge-resolve", "merge-recursive", "merge-ort"])
async def test_a_merge_makes_the_tree_git_merge_makes(upstream: Upstream, caches: Caches, mode: str) -> None:
    first = upstream.change(1, {"a.txt": "zero\none\ntwo\nthree\n"})
    second = upstream.change(2, {"a.txt": "one\ntwo\nthree\nfour\n"})
    upstream.commit("meanwhile", {"d.txt": "d\n"})
    await fetch(caches, upstream, 1, 2)
    merged = await caches.merge(PROJECT, "main", [first, second], mode)
    upstream.git("merge", "-q", "--no-edit", first)
    upstream.git("merge", "-q", "--no-edit", second)
    assert isinstance(merged, Merged)
    assert merged.tree == upstream.git("rev-parse", "HEAD^{tree}")


@pytest.mark.parametrize("mode", ["merge", "cherry-pick", "squash-merge", "rebase"])
async def test_the_same_merge_is_the_same_commit_again_in_another_cache(
    upstream: Upstream, caches: Caches, tmp_path: Path, mode: str
) -> None:
    change = upstream.change(1, {"b.txt": "b\n"})
    upstream.commit("meanwhile", {"d.txt": "d\n"})
    await fetch(caches, upstream, 1)
    other = Caches(tmp_path / "other")
    await fetch(other, upstream, 1)
    once = await caches.merge(PROJECT, "main", [change], mode)
    assert isinstance(once, Merged)
    assert once == await caches.merge(PROJECT, "main", [change], mode) == await other.merge(PROJECT, "main", [change], mode)


async def test_cherry_pick_keeps_author_and_message_and_has_one_parent(upstream: Upstream, caches: Caches) -> None:
    change = upstream.change(1, {"b.txt": "b\n"})
    tip = upstream.commit("meanwhile", {"d.txt": "d\n"})
    await fetch(caches, upstream, 1)
    merged = await caches.merge(PROJECT, "main", [change], "cherry-pick", keep="x")
    assert isinstance(merged, Merged)
    shown = subprocess.run(
        ["git", "-C", str(caches.path(PROJECT)), "log", "-1", "--format=%P|%an|%s", merged.commit],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == f"{tip}|A Person|change 1"


async def test_rebase_replays_every_commit_of_the_change(upstream: Upstream, caches: Caches) -> None:
    below = upstream.change(1, {"b.txt": "b\n"})
    above = upstream.change(2, {"c.txt": "c\n"}, base=below)
    upstream.commit("meanwhile", {"d.txt": "d\n"})
    await fetch(caches, upstream, 1, 2)
    merged = await caches.merge(PROJECT, "main", [above], "rebase")
    assert isinstance(merged, Merged)
    assert await caches.list_paths(PROJECT, merged.commit) == ("a.txt", "b.txt", "c.txt", "d.txt", "zuul.d/jobs.yaml")


async def test_a_conflict_names_the_change_and_the_files(upstream: Upstream, caches: Caches) -> None:
    fine = upstream.change(1, {"b.txt": "b\n"})
    bad = upstream.change(2, {"a.txt": "mine\n", "e.txt": "e\n"})
    upstream.commit("meanwhile", {"a.txt": "theirs\n"})
    await fetch(caches, upstream, 1, 2)
    for mode in ("merge", "cherry-pick", "squash-merge", "rebase"):
        assert await caches.merge(PROJECT, "main", [fine, bad], mode) == Conflict(bad, ("a.txt",))


async def test_a_change_already_there_changes_nothing(upstream: Upstream, caches: Caches) -> None:
    change = upstream.change(1, {"b.txt": "b\n"})
    upstream.git("merge", "-q", "--ff-only", change)
    await fetch(caches, upstream, 1)
    merged = await caches.merge(PROJECT, "main", [change])
    assert isinstance(merged, Merged)
    assert merged.commit == change


async def test_files_are_read_by_name_and_by_predicate(upstream: Upstream, caches: Caches) -> None:
    await fetch(caches, upstream)
    assert await caches.read_files(PROJECT, "main", ["a.txt", "zuul.d", "absent"]) == {"a.txt": "one\ntwo\nthree\n"}
    assert await caches.read_files(PROJECT, "main", lambda path: path.endswith(".yaml")) == {"zuul.d/jobs.yaml": "[]\n"}


async def test_changed_files_are_those_of_the_change_not_of_the_branch(upstream: Upstream, caches: Caches) -> None:
    change = upstream.change(1, {"b.txt": "b\n", "a.txt": "changed\n"})
    upstream.commit("meanwhile", {"d.txt": "d\n"})
    await fetch(caches, upstream, 1)
    assert await caches.changed_files(PROJECT, "main", change) == ("a.txt", "b.txt")


async def test_an_export_has_the_files_of_that_commit_and_is_made_once(upstream: Upstream, caches: Caches, tmp_path: Path) -> None:
    await fetch(caches, upstream)
    commit = await caches.resolve(PROJECT, "main")
    places = await asyncio.gather(*(caches.export(PROJECT, commit, tmp_path / "exports") for _ in range(4)))
    assert len(set(places)) == 1
    assert (places[0] / "zuul.d/jobs.yaml").read_text() == "[]\n"
    assert [path.name for path in places[0].parent.iterdir()] == [commit]


async def test_fetches_of_one_project_at_once_do_not_meet(upstream: Upstream, caches: Caches) -> None:
    for number in range(1, 5):
        upstream.change(number, {f"{number}.txt": "x\n"})
    await asyncio.gather(*(fetch(caches, upstream, number) for number in range(1, 5)))
    for number in range(1, 5):
        await caches.resolve(PROJECT, f"refs/changes/{number}/1")


async def test_a_lock_left_by_a_killed_git_does_not_stop_the_next_fetch(upstream: Upstream, caches: Caches) -> None:
    await fetch(caches, upstream)
    upstream.commit("more", {"d.txt": "d\n"})
    (caches.path(PROJECT) / "refs/heads/main.lock").touch()
    await fetch(caches, upstream)
    assert await caches.resolve(PROJECT, "main") == upstream.git("rev-parse", "main")


async def test_a_cancelled_fetch_leaves_the_lock_free(upstream: Upstream, caches: Caches) -> None:
    waiting = asyncio.create_task(fetch(caches, upstream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await fetch(caches, upstream)


async def test_problems_are_one_sentence(upstream: Upstream, caches: Caches, tmp_path: Path) -> None:
    with pytest.raises(GitProblem, match=rf"^{PROJECT}: cannot fetch: '.*absent' does not appear to be a git repository"):
        await caches.fetch(PROJECT, str(tmp_path / "absent"))
    with pytest.raises(GitProblem, match="never fetched"):
        await caches.resolve("review.example.org/other", "main")
    with pytest.raises(ValueError, match="not a name"):
        caches.path("../outside")
    with pytest.raises(ValueError, match="merge-mode 'octopus' is not one of merge, "):
        await caches.merge(PROJECT, "main", [], "octopus")


def test_condense_prefers_the_servers_reason() -> None:
    ssh = (
        "Permission denied (publickey).\nfatal: Could not read from remote repository.\n\n"
        "Please make sure you have the correct access rights\nand the repository exists.\n"
    )
    assert condense(ssh) == "Permission denied (publickey)."
    rejected = "To ssh://node/~/x\n ! [remote rejected] main -> main (disk full)\nerror: failed to push some refs to 'ssh://node/~/x'\n"
    assert condense(rejected) == "! [remote rejected] main -> main (disk full); failed to push some refs to 'ssh://node/~/x'"
    assert condense("remote: hi\nfatal: couldn't find remote ref refs/changes/1/1\n") == "couldn't find remote ref refs/changes/1/1"
