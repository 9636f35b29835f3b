"""A checkout as it is now, as a commit of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.git import Caches, run_git
from tasks.snapshots import take_snapshot
from tests.services.upstream import Upstream

PROJECT = "review.example.org/org/nova"


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches(tmp_path / "caches")


async def text(caches: Caches, commit: str, path: str) -> str | None:
    return (await caches.read_files(PROJECT, commit, [path])).get(path)


async def test_a_clean_checkout_is_its_own_commit(upstream: Upstream, caches: Caches) -> None:
    found = await take_snapshot(caches, PROJECT, upstream.path)
    assert (found.branch, found.commit, found.uncommitted) == ("main", upstream.git("rev-parse", "HEAD"), 0)
    assert found.branches == {"main": found.commit}


async def test_what_is_not_committed_is_in_it_and_the_checkout_stays_as_it_was(upstream: Upstream, caches: Caches) -> None:
    upstream.commit("ignore", {".gitignore": "*.o\n"})
    head = upstream.git("rev-parse", "HEAD")
    (upstream.path / "a.txt").write_text("edited\n")
    (upstream.path / "new.txt").write_text("new\n")
    (upstream.path / "built.o").write_text("")
    (upstream.path / "zuul.d/jobs.yaml").unlink()
    before = upstream.git("status", "--porcelain"), upstream.git("count-objects", "-v")
    found = await take_snapshot(caches, PROJECT, upstream.path)
    assert (upstream.git("status", "--porcelain"), upstream.git("count-objects", "-v")) == before
    assert found.uncommitted == 3
    assert await text(caches, found.commit, "a.txt") == "edited\n"
    assert await text(caches, found.commit, "new.txt") == "new\n"
    assert await text(caches, found.commit, "built.o") is None
    assert await text(caches, found.commit, "zuul.d/jobs.yaml") is None
    assert (await run_git(f"--git-dir={caches.path(PROJECT)}", "rev-parse", f"{found.commit}^")).strip() == head


async def test_a_topic_of_a_clone_is_meant_for_the_branch_it_follows(upstream: Upstream, caches: Caches, tmp_path: Path) -> None:
    upstream.git("branch", "stable/one")
    clone = tmp_path / "clone"
    await run_git("clone", "--quiet", str(upstream.path), str(clone))
    await run_git("checkout", "--quiet", "--track", "-b", "bug/7", "origin/stable/one", cwd=clone)
    (clone / "a.txt").write_text("mended\n")
    found = await take_snapshot(caches, PROJECT, clone)
    assert found.branch == "stable/one"
    assert sorted(found.branches) == ["main", "stable/one"]
    assert await text(caches, found.branches["stable/one"], "a.txt") == "mended\n"
    assert (await take_snapshot(caches, PROJECT, clone, "main")).branch == "main"


async def test_a_detached_head_is_meant_for_what_gitreview_says(upstream: Upstream, caches: Caches) -> None:
    upstream.git("branch", "stable/two")
    upstream.commit("where", {".gitreview": "[gerrit]\nhost=review.example.org\ndefaultbranch=stable/two\n"})
    upstream.git("checkout", "--quiet", "--detach")
    commit = upstream.commit("on no branch", {"a.txt": "loose\n"})
    found = await take_snapshot(caches, PROJECT, upstream.path)
    assert (found.branch, found.commit) == ("stable/two", commit)
    assert await text(caches, commit, "a.txt") == "loose\n"


async def test_a_plain_directory_is_one_commit(caches: Caches, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/a.txt").write_text("plain\n")
    found = await take_snapshot(caches, PROJECT, tmp_path / "plain", plain_branch="trunk")
    assert found.branches == {"trunk": found.commit}
    assert await text(caches, found.commit, "a.txt") == "plain\n"


async def test_a_directory_inside_a_repository_leaves_out_what_that_ignores(upstream: Upstream, caches: Caches) -> None:
    upstream.commit("ignore", {".gitignore": "*.o\n", "part/a.txt": "part\n", "part/gone.txt": ""})
    (upstream.path / "part/built.o").write_text("")
    (upstream.path / "part/new.txt").write_text("new\n")
    (upstream.path / "part/gone.txt").unlink()
    found = await take_snapshot(caches, PROJECT, upstream.path / "part")
    assert await caches.list_paths(PROJECT, found.commit) == ("a.txt", "new.txt")


async def test_a_bare_repository_has_its_branches(upstream: Upstream, caches: Caches, tmp_path: Path) -> None:
    await run_git("clone", "--quiet", "--bare", str(upstream.path), str(tmp_path / "bare.git"))
    found = await take_snapshot(caches, PROJECT, tmp_path / "bare.git")
    assert (found.branch, found.commit) == ("main", upstream.git("rev-parse", "HEAD"))
