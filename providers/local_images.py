"""Images in a directory of this machine, for providers whose nodes are on it: `ID.json` (written first) beside what was put there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from providers.base import DestroyFailed, ImageFile, UploadFailed
from providers.local import read_facts, remove_tree, write_atomically


class LocalImages:
    """The images of one provider. An image is known by its path."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def add(self, image: ImageFile, name: str, put: Callable[[Path], Awaitable[None]]) -> str:
        """`put` makes the image at the path it is given (a file or a directory), which becomes `ID/NAME` once it is whole."""
        place = self._directory / image.id
        final, partial = place / name, place / f"{name}.partial"
        try:
            await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread(write_atomically, self._directory / f"{image.id}.json", {"owner": image.owner, "name": image.name})
            if not final.exists():
                await asyncio.to_thread(_remove, partial)
                await put(partial)
                partial.replace(final)
        except OSError as problem:
            raise UploadFailed(f"{problem.filename or place}: {problem.strerror}") from problem
        return str(final)

    async def remove(self, external_id: str) -> None:
        """Only what lies in our directory; anything else is not ours to remove."""
        place = Path(external_id).parent
        if place.parent != self._directory:
            return
        try:
            await asyncio.to_thread(_remove, place)
        except OSError as problem:
            raise DestroyFailed(f"{problem.filename or place} cannot be removed: {problem.strerror}") from problem
        (self._directory / f"{place.name}.json").unlink(missing_ok=True)

    async def owned(self, owner: str, name: str) -> Mapping[str, str]:
        facts = {marker.stem: read_facts(marker) for marker in sorted(self._directory.glob("*.json"))}
        return {str(self._directory / image / name): image for image, found in facts.items() if found.get("owner") == owner}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


async def run(*command: str, failure: str) -> str:
    """What the command said. Raises `UploadFailed` with `failure` and its last line."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except FileNotFoundError:
        raise UploadFailed(f"{failure}: {command[0]} is not installed") from None
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise UploadFailed(f"{failure}: {last[0]}")
    return said.decode(errors="replace")
