"""What `headgate images` says and does, on a database with two builds of an image in use at one provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from cli.images import register
from headgate.images import BuildState, UploadState
from headgate.problems import Problem
from tasks.database import open_engine
from tasks.image_files import BuildFiles
from tasks.image_store import FileFacts, ImageRecords

OLD, NEW = "a" * 32, "b" * 32
"""Ids of builds; those of their uploads are below."""
UPLOAD = {OLD: "c" * 32, NEW: "d" * 32}


@pytest.fixture(autouse=True)
def no_prefect() -> Iterator[None]:
    """None of these commands asks Prefect anything; without an address Prefect's client would start a server of its own."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "headgate.yaml"
    path.write_text(
        f"state-dir: state\ntenants: main.yaml\ndatabase: {database}\nconnections: [{{name: r, driver: git, path: r}}]\n"
        "providers: [{name: here, driver: local, labels: [small]}]\n"
        "diskimages: [{name: debian, elements: [vm]}, {name: other, elements: [vm], pause: true}, "
        "{name: taken, snapshot-of: small, scripts: [s.sh]}]\n"
    )
    (tmp_path / "main.yaml").write_text("[]\n")
    (tmp_path / "r").mkdir()
    return path


@pytest.fixture
def built(config: Path, database: str) -> Path:
    """The image directory."""
    root = config.parent / "state" / "images"

    async def build() -> None:
        engine = open_engine(database, connections=1)
        records = ImageRecords(engine)
        for name in (OLD, NEW):
            await records.begin_build(name, "debian", "")
            await records.end_build(name, BuildState.READY, {"qcow2": FileFacts(5_000_000, "m", "s")})
            made = await records.build(name)
            assert made is not None
            await records.begin_upload(UPLOAD[name], made, "here", "qcow2")
            await records.set_upload(UPLOAD[name], UploadState.PROVING, external_id=f"x-{name}")
            await records.promote(UPLOAD[name], "4 checks passed")
            files = BuildFiles(root, "debian", name)
            for path in (files.path("qcow2"), files.log):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"of {name}\n")
        await engine.dispose()

    asyncio.run(build())
    return root


def run(config: Path, *words: str) -> str:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, ["images", *words, "--config", str(config)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(config: Path, *words: str) -> str:
    with pytest.raises(Problem) as problem:
        run(config, *words)
    return str(problem.value)


def in_use(config: Path) -> str:
    [line] = [line for line in run(config).splitlines() if "in use" in line]
    return line.split()[0]


def test_builds_and_uploads_are_listed_with_what_is_in_use(config: Path, built: Path) -> None:
    listed = run(config)
    assert f"  {NEW[:12]}  ready       0 min  5 MB qcow2" in listed
    assert f"    {UPLOAD[NEW][:12]}  here         qcow2  ready      in use  4 checks passed" in listed
    assert listed.count("in use") == 1
    assert "other  (14 14 * * * UTC, paused)\n  no build yet; `headgate images build other` makes one now" in listed


def test_a_rollback_and_a_promotion_say_what_nodes_start_from(config: Path, built: Path) -> None:
    assert run(config, "rollback", "debian") == f"here: nodes start from {UPLOAD[OLD][:12]} instead of {UPLOAD[NEW][:12]}.\n"
    assert in_use(config) == UPLOAD[OLD][:12]
    assert run(config, "rollback", "debian") == "here: there is nothing to go back to.\n"
    assert run(config, "promote", "dddd") == f"Nodes of debian at here start from {UPLOAD[NEW][:12]} now.\n"
    assert in_use(config) == UPLOAD[NEW][:12]


def test_what_cannot_be_rolled_back_or_promoted_is_a_sentence(config: Path, database: str, built: Path) -> None:
    assert refused(config, "rollback", "debain") == "There is no diskimage debain; the configuration has debian, other, taken."
    assert refused(config, "rollback", "other") == "No provider has an upload of other yet: there is nothing to go back to."
    assert refused(config, "rollback", "debian", "--provider", "there") == "There is no upload of debian at a provider there, but at here."
    assert refused(config, "promote", "zz") == "'zz' is no upload; `headgate images` lists them."

    async def prove() -> None:
        engine = open_engine(database, connections=1)
        await ImageRecords(engine).set_upload(UPLOAD[NEW], UploadState.PROVING)
        await engine.dispose()

    asyncio.run(prove())
    assert refused(config, "promote", "d") == f"The upload {UPLOAD[NEW][:12]} is proving: wait until that is over."


def test_a_build_is_deleted_unless_it_is_in_use(config: Path, built: Path) -> None:
    assert refused(config, "delete", "b") == f"The upload {UPLOAD[NEW][:12]} at here is in use: roll back first, and wait for its nodes."
    assert run(config, "delete", "a") == f"debian {OLD[:12]} is deleted; its log is kept.\n"
    assert not BuildFiles(built, "debian", OLD).path("qcow2").exists() and BuildFiles(built, "debian", NEW).path("qcow2").exists()
    assert run(config, "log", "a") == f"of {OLD}\n"
    assert UPLOAD[OLD][:12] not in run(config)


def test_the_log_of_an_image_is_its_newest_builds(config: Path, built: Path) -> None:
    assert run(config, "log", "debian") == f"of {NEW}\n"
    assert refused(config, "log", "other").startswith("'other' is no image that was built")
    BuildFiles(built, "debian", NEW).log.unlink()
    assert refused(config, "log", "debian").endswith("it was forgotten, or the build ran on another machine.")


def test_a_pause_says_when_the_configuration_file_goes_on_pausing(config: Path) -> None:
    assert run(config, "pause", "debian") == "debian is paused.\n" and "debian  (14 14 * * * UTC, paused)" in run(config)
    assert run(config, "pause", "debian", "--end") == "debian is built by its schedule again.\n"
    assert refused(config, "pause", "other", "--end").startswith("other is paused by the configuration file")


def test_only_builds_of_the_named_image_are_booted(config: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    booted: list[str] = []
    monkeypatch.setattr("cli.image_terminal.boot_here", lambda file, *_: booted.append(file.name) or 0)
    (built / "builds" / f"debian-12-{OLD[:12]}.qcow2").write_text("another image, and newer")
    run(config, "boot", "debian")
    assert booted == [f"debian-{NEW[:12]}.qcow2"]
    assert refused(config, "boot", "debain") == "There is no diskimage debain; the configuration has debian, other, taken."
    assert refused(config, "boot", "other").startswith("There is no qcow2 of other in ")


def test_a_debugged_build_takes_a_terminal_and_elements(config: Path) -> None:
    assert refused(config, "build", "debian", "--debug").startswith("--debug opens a shell where an element fails, which takes a terminal")
    assert refused(config, "build", "taken", "--debug").startswith("taken is a snapshot of small")
