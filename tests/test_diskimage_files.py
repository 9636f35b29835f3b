"""What happens to a build's files, and what becomes of a build that is stopped: with real processes, without building an image."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from headgate.diskimages import Command
from headgate.image_log import BuildLog
from tasks.diskimage import BuildFailed, build_directory, build_environment, run_build, sweep
from tasks.image_files import BuildFiles, NoSpace, check_space, convert, digest
from tasks.repository_cache import Origin, warm

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def builder(directory: Path, script: str) -> Command:
    """Something that stands in for diskimage-builder: a shell script, and the places it is given."""
    program = directory / "builder"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    places = {"TMP_DIR": str(directory), "DIB_IMAGE_CACHE": str(directory / "cache"), "DIB_LOCKFILES": str(directory / "locks")}
    return Command((str(program),), places)


async def run(directory: Path, script: str) -> tuple[list[str], str]:
    phases: list[str] = []

    async def told(log: BuildLog) -> None:
        phases.append(log.phase)

    await run_build(builder(directory, script), directory / "log", told)
    return phases, (directory / "log").read_text()


async def test_phases_are_told_and_the_log_is_kept(tmp_path: Path) -> None:
    lines = ["dib-run-parts Running /x/root.d/08-a", "dib-run-parts Running /x/root.d/09-b", "dib-run-parts Running /x/install.d/10-c"]
    phases, log = await run(tmp_path, "".join(f"echo '2026-11-22 09:44:22.719 | {line}'\n" for line in lines))
    assert phases == ["root.d", "install.d"]
    assert log.endswith("Exit code: 0\n") and log.count("\n") == 4


async def test_a_line_without_an_end_and_a_very_long_one_stop_nothing(tmp_path: Path) -> None:
    _, log = await run(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x; echo; printf end")
    assert "\nend" in log and len(log) > 3_000_000


async def test_a_failure_says_what_failed(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"install\.d/10-c failed with exit code 7: No such package"):
        await run(tmp_path, "echo 'dib-run-parts Running /x/install.d/10-c'; echo 'No such package'; exit 7")


async def test_a_builder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    places = builder(tmp_path, "").environment
    with pytest.raises(BuildFailed):
        await run_build(Command((str(tmp_path / "nothing"),), places), tmp_path / "log", lambda _: asyncio.sleep(0))


async def test_a_cancelled_build_ends_with_all_its_processes(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def told(_: BuildLog) -> None:
        began.set()

    script = f"echo 'dib-run-parts Running /x/root.d/08-a'; sleep 1000 & setsid sleep 1000 {tmp_path} & wait"
    building = asyncio.create_task(run_build(builder(tmp_path, script), tmp_path / "log", told))
    await began.wait()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    if os.geteuid() == 0:
        left = subprocess.run(["pgrep", "-f", f"sleep 1000 {tmp_path}"], capture_output=True, text=True).stdout
        assert left == ""


def test_a_build_s_environment_has_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "secret")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    environment = build_environment(builder(tmp_path, ""))
    assert "PREFECT_API_AUTH_STRING" not in environment
    assert environment["https_proxy"] == "http://proxy:3128"


def test_what_a_living_build_has_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "tmp/dead/dib_build.x").mkdir(parents=True)
    with build_directory(tmp_path, "alive") as alive:
        assert sweep(tmp_path) == ["dead"]
        assert alive.is_dir()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_mounts_of_a_dead_build_are_swept(tmp_path: Path) -> None:
    place = tmp_path / "tmp/dead/a place"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    (place / "file").touch()
    assert sweep(tmp_path) == ["dead"]
    assert not place.exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_digests_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "image.raw"
    path.write_bytes(os.urandom(5_000_000))
    facts = digest(path)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    assert (tmp_path / "image.raw.sha256").read_text() == f"{facts.sha256}  image.raw\n"


@needs_qemu_img
@pytest.mark.parametrize("format", ["qcow2", "vhd-fixed", "vmdk", "vhd"])
async def test_what_is_converted_is_the_same_disk(tmp_path: Path, format: str) -> None:
    raw = tmp_path / "i.raw"
    raw.write_bytes(b"\0" * 3_000_000 + os.urandom(100_000))
    target = tmp_path / f"i.{format}"
    warning = await convert(raw, target, format, "compression_type=zstd")
    kind = "vpc" if format.startswith("vhd") else format
    back = tmp_path / "back"
    subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", str(target), str(back)], check=True)
    assert back.read_bytes()[:3_100_000] == raw.read_bytes()[:3_100_000]
    if format == "vhd-fixed":
        assert target.stat().st_size == 3 * 1024 * 1024 + 512, "Azure takes whole MiB and a footer of 512 bytes"
    assert bool(warning) == (format == "vhd" and not shutil.which("vhd-util"))


def test_a_full_disk_stops_a_build_before_it_begins(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(NoSpace, match=r"a build needs .* make room there"):
        check_space(tmp_path, 1 << 60)


def test_files_of_a_build_go_and_its_log_stays(tmp_path: Path) -> None:
    files = BuildFiles(tmp_path, "debian", "0123456789abcdef")
    for path in (files.path("qcow2"), files.path("raw"), files.path("raw.md5"), files.log, files.target.with_name(f"{files.name}.d") / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    files.remove(["raw"])
    assert files.path("qcow2").exists() and not files.path("raw.md5").exists()
    files.remove()
    assert list(files.target.parent.iterdir()) == [] and files.log.exists()
    files.forget()
    assert not files.log.exists()


async def test_repositories_are_fetched_and_what_fails_stops_nothing(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(origin), "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(["git", "init", "-q", "-b", "master", str(origin)], check=True)
    subprocess.run(commit, check=True)
    warmed = await warm(tmp_path / "cache", {"host/there": Origin(str(origin)), "host/gone": Origin(str(tmp_path / "gone"))})
    assert warmed.count == 1 and list(warmed.failed) == ["host/gone"]
    assert warmed.listing.read_text() == f"host/there {tmp_path}/cache/host/there.git\n"


ELEMENT = Path(__file__).parent.parent / "elements/ci-repositories/extra-data.d/60-ci-repositories"


@pytest.mark.skipif(os.geteuid() != 0, reason="it copies as root")
async def test_the_element_copies_repositories_to_their_names(tmp_path: Path) -> None:
    origin = tmp_path / "origin.github.io"
    subprocess.run(["git", "init", "-q", "-b", "master", str(origin)], check=True)
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(origin), "commit", "-q", "--allow-empty", "-m", "x"], check=True
    )
    warmed = await warm(tmp_path / "cache", {"host/org/one": Origin(str(origin)), "host/org/site.github.io": Origin(str(origin))})
    tools = Path(__file__).parent.parent / "tasks/diskimage_tools/root"
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "TMP_MOUNT_PATH": str(tmp_path / "mnt"),
        "DIB_CI_REPOSITORIES": str(warmed.listing),
    }
    subprocess.run(["bash", str(ELEMENT)], env=environment, check=True, capture_output=True)
    for name in ("one", "site.github.io"):
        command = ["git", "--git-dir", str(tmp_path / "mnt/opt/git/host/org" / name), "log", "--format=%s", "master"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "x\n"
