"""The files of a build: converted, digested, listed. Everything of a build begins with `IMAGE-BUILD` in the image directory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headgate.manifests import Manifest, from_text, read_manifest, to_text
from tasks.diskimage import BuildFailed
from tasks.image_store import FileFacts
from tasks.processes import communicate, start_process

MIB = 1 << 20
BLOCK = 4 * MIB


class NoSpace(Exception):
    """The disk has no room for a build; one sentence."""


@dataclass(frozen=True, slots=True)
class BuildFiles:
    """Where the files of one build are below the image directory `root`."""

    root: Path
    image: str
    build: str

    @property
    def name(self) -> str:
        return f"{self.image}-{self.build[:12]}"

    @property
    def target(self) -> Path:
        """The image's files without their suffixes."""
        return self.root / "builds" / self.name

    @property
    def log(self) -> Path:
        return self.root / "logs" / f"{self.name}.log"

    @property
    def manifest_file(self) -> Path:
        """Kept as long as the log, so that later builds can be compared with it."""
        return self.root / "logs" / f"{self.name}.json"

    def path(self, format: str) -> Path:
        return self.target.with_name(f"{self.name}.{format}")

    def manifest(self) -> Manifest | None:
        try:
            return from_text(self.manifest_file.read_text())
        except (OSError, ValueError):
            return None

    def keep_manifest(self) -> Manifest:
        """Read what diskimage-builder wrote beside the image, and keep it."""
        found = read_manifest({path.name: path.read_text(errors="replace") for path in self._manifests()})
        self.manifest_file.write_text(to_text(found))
        return found

    def _manifests(self) -> list[Path]:
        return sorted(path for path in (self.target.with_name(f"{self.name}.d") / "dib-manifests").glob("dib-manifest-*"))

    def remove(self, formats: Iterable[str] | None = None) -> None:
        """The files of these formats, or all but the log and the manifest. Repeatable."""
        if formats is not None:
            for name in (f"{self.name}.{each}{digest}" for each in formats for digest in ("", ".md5", ".sha256")):
                self.target.with_name(name).unlink(missing_ok=True)
            return
        for path in self.target.parent.glob(f"{self.name}.*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def forget(self) -> None:
        """The log and the manifest too."""
        self.remove()
        self.log.unlink(missing_ok=True)
        self.manifest_file.unlink(missing_ok=True)


def check_space(directory: Path, needed: int) -> None:
    """Raises `NoSpace` when less than `needed` bytes are free where `directory` is."""
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise NoSpace(
            f"The disk of {directory} has {free // MIB} MiB free, a build needs {needed // MIB}: make room there, nothing was begun."
        )


async def convert(raw: Path, target: Path, format: str, qcow2_options: str) -> str:
    """Make `target` of a raw image; what should be known about it, or nothing. `raw` stays. Raises `BuildFailed`."""
    warning = ""
    partial = target.with_name(f"{target.name}.partial")
    if format == "vhd" and shutil.which("vhd-util"):
        await asyncio.to_thread(_pad, raw)
        middle = raw.with_name(f"{raw.name}.vhd-0")
        await _run("vhd-util", "convert", "-s", "0", "-t", "1", "-i", str(raw), "-o", str(middle))
        await _run("vhd-util", "convert", "-s", "1", "-t", "2", "-i", str(middle), "-o", str(partial))
        for left in (middle, middle.with_name(f"{middle.name}.bak")):
            left.unlink(missing_ok=True)
    else:
        if format == "vhd":
            warning = "vhd-util is not installed: this vhd is qemu-img's, which lacks what XenServer's own have"
        if format == "vhd-fixed":
            await asyncio.to_thread(_pad, raw)
        await _run("qemu-img", "convert", *_options(format, qcow2_options), "-f", "raw", str(raw), str(partial))
    partial.replace(target)
    return warning


def _options(format: str, qcow2_options: str) -> tuple[str, ...]:
    """`force_size` keeps the file's size, a whole number of MiB as Azure demands; without it qemu-img rounds to cylinders."""
    if format == "qcow2":
        return ("-O", "qcow2", "-c", "-W", "-m", "4", *(("-o", qcow2_options) if qcow2_options else ()))
    if format.startswith("vhd"):
        return ("-O", "vpc", "-o", "subformat=fixed,force_size" if format == "vhd-fixed" else "subformat=dynamic")
    return ("-O", format)


def _pad(raw: Path) -> None:
    size = raw.stat().st_size
    os.truncate(raw, -(-size // MIB) * MIB)


async def _run(*command: str) -> None:
    try:
        process = await start_process(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    except FileNotFoundError:
        raise BuildFailed(f"{command[0]} is not installed: it is needed to convert images.") from None
    said, _ = await communicate(process)
    if process.returncode:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise BuildFailed(f"{command[0]} failed: {last[0]}")


def digest(path: Path) -> FileFacts:
    """Size on disk and digests of a file, read once. Run it in a thread: hashing lets go of the interpreter."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            md5.update(view[:count])
            sha256.update(view[:count])
    facts = FileFacts(path.stat().st_blocks * 512, md5.hexdigest(), sha256.hexdigest())
    for algorithm in ("md5", "sha256"):
        path.with_name(f"{path.name}.{algorithm}").write_text(f"{getattr(facts, algorithm)}  {path.name}\n")
    return facts
