"""Images in the store: builds, uploads, the nodes started from them, and what the rules of `headgate.images` decide about them.

An upload is here before anything of it exists at its provider, and leaves the table after it is gone there. Topic: `images`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headgate.images import (
    PROBATION,
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
    retention,
    rollbacks,
)
from headgate.nodes import NodeState
from tasks import tables as t
from tasks.database import CHANNEL, lease_key

TOPIC = "images"
PROVES, BECOMES = "proves", "becomes"
"""What a node does that is on hold for an image."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of a build: bytes on disk, and digests in hexadecimal."""

    size: int
    md5: str
    sha256: str


def _now() -> datetime:
    return datetime.now(UTC)


def _purpose(what: str, upload: Upload) -> str:
    """What people read of a node on hold for an upload; with its provider, it says which upload that is."""
    return f"{what} image {upload.image}, build {upload.build[:12]}"


class ImageRecords:
    """Everything Headgate remembers about images."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @staticmethod
    async def _tell(connection: AsyncConnection) -> None:
        await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, TOPIC)))

    # ---- builds

    async def builds(self, image: str | None = None) -> list[Build]:
        """Builds, oldest first; of one image, if it is named."""
        async with self._engine.connect() as connection:
            return await self._builds(connection, image)

    @staticmethod
    async def _builds(connection: AsyncConnection, image: str | None = None) -> list[Build]:
        where = [t.image_builds.c.image == image] if image is not None else []
        rows = await connection.execute(sa.select(t.image_builds).where(*where).order_by(t.image_builds.c.created, t.image_builds.c.id))
        return [
            Build(
                r.id,
                r.image,
                BuildState(r.state),
                r.created,
                {name: facts["size"] for name, facts in r.files.items()},
                r.ended,
                r.message,
                r.flow_run,
            )
            for r in rows
        ]

    async def build(self, build_id: str) -> Build | None:
        return next((build for build in await self.builds() if build.id == build_id), None)

    async def find_build(self, which: str) -> Build | None:
        """The newest build of the image called `which`, or else the only build whose id begins so."""
        builds = await self.builds()
        named = [build for build in builds if build.image == which][-1:]
        found = named or [build for build in builds if which and build.id.startswith(which)]
        return found[0] if len(found) == 1 else None

    async def begin_build(self, build_id: str, image: str, flow_run: str) -> None:
        """A build begins. The caller holds the image's lease, so that any other that seems to go on was lost with its worker."""
        async with self._engine.begin() as connection:
            lost = sa.update(t.image_builds).where(t.image_builds.c.image == image, t.image_builds.c.state == BuildState.BUILDING)
            await connection.execute(lost.values(state=BuildState.FAILED, ended=_now(), message="the worker that built it is gone"))
            await connection.execute(
                insert(t.image_builds).values(id=build_id, image=image, state=BuildState.BUILDING, created=_now(), flow_run=flow_run)
            )
            await self._tell(connection)

    async def files(self, build_id: str) -> dict[str, FileFacts]:
        """The files of a build by format."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(t.image_builds.c.files).where(t.image_builds.c.id == build_id))).first()
        return {name: FileFacts(**facts) for name, facts in (row.files if row is not None else {}).items()}

    async def end_build(self, build_id: str, state: BuildState, files: Mapping[str, FileFacts], message: str = "") -> None:
        """It is done, or failed, or its files (or some of them) are gone."""
        told = {name: {"size": facts.size, "md5": facts.md5, "sha256": facts.sha256} for name, facts in files.items()}
        values: dict[str, Any] = {"state": state, "files": told, "ended": sa.func.coalesce(t.image_builds.c.ended, _now())}
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(t.image_builds)
                .where(t.image_builds.c.id == build_id)
                .values(**values, **({"message": message} if message else {}))
            )
            await self._tell(connection)

    async def forget_builds(self, keep: int) -> list[str]:
        """Of every image, forget builds without files and uploads but the `keep` newest; returns their ids."""
        gone: list[str] = []
        async with self._engine.begin() as connection:
            used = {upload.build for upload in await self._uploads(connection)}
            over: dict[str, list[str]] = {}
            for build in await self._builds(connection):
                if build.state in (BuildState.FAILED, BuildState.DELETED) and build.id not in used:
                    over.setdefault(build.image, []).append(build.id)
            gone = [name for names in over.values() for name in (names[:-keep] if keep else names)]
            await connection.execute(sa.delete(t.image_builds).where(t.image_builds.c.id.in_(gone)))
        return gone

    # ---- uploads

    async def uploads(self, image: str | None = None) -> list[Upload]:
        """Uploads, oldest first; of one image, if it is named."""
        async with self._engine.connect() as connection:
            return await self._uploads(connection, image)

    @staticmethod
    async def _uploads(connection: AsyncConnection, image: str | None = None) -> list[Upload]:
        where = [t.image_uploads.c.image == image] if image is not None else []
        rows = await connection.execute(sa.select(t.image_uploads).where(*where).order_by(t.image_uploads.c.created, t.image_uploads.c.id))
        return [
            Upload(r.id, r.build, r.image, r.provider, r.format, UploadState(r.state), r.created, r.external_id, r.promoted, r.message)
            for r in rows
        ]

    async def begin_upload(self, upload_id: str, build: Build, provider: str, format: str) -> Upload:
        """The upload of this build to this provider: written down now, or as it is there already; one that failed begins again."""
        async with self._engine.begin() as connection:
            values = {"build": build.id, "image": build.image, "provider": provider, "format": format, "state": UploadState.UPLOADING}
            again = t.image_uploads.c.state.in_([UploadState.FAILED, UploadState.REFUSED])
            await connection.execute(
                insert(t.image_uploads)
                .values(id=upload_id, created=_now(), **values)
                .on_conflict_do_update(
                    index_elements=["build", "provider"],
                    set_={"state": UploadState.UPLOADING, "format": format, "message": ""},
                    where=again,
                )
            )
            await self._tell(connection)
            mine = await self._uploads(connection, build.image)
        return next(upload for upload in mine if (upload.build, upload.provider) == (build.id, provider))

    async def upload(self, upload_id: str) -> Upload | None:
        return next((upload for upload in await self.uploads() if upload.id == upload_id), None)

    async def set_upload(self, upload_id: str, state: UploadState, message: str = "", external_id: str | None = None) -> None:
        values: dict[str, Any] = {"state": state, "message": message} | ({} if external_id is None else {"external_id": external_id})
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(t.image_uploads).where(t.image_uploads.c.id == upload_id).values(**values))
            await self._tell(connection)

    async def promote(self, upload_id: str, message: str = "") -> None:
        """From now on nodes start from it."""
        async with self._engine.begin() as connection:
            values = {"state": UploadState.READY, "promoted": _now(), "message": message}
            await connection.execute(sa.update(t.image_uploads).where(t.image_uploads.c.id == upload_id).values(**values))
            await self._tell(connection)

    async def forget_upload(self, upload_id: str) -> None:
        """It is gone at its provider."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.image_uploads).where(t.image_uploads.c.id == upload_id))
            await self._tell(connection)

    # ---- nodes

    async def boot(self, node: str, image: str, provider: str, upload_id: str = "") -> Upload | None:
        """The upload that this node starts from, written down: the current one, or the one named; None when there is none.
        Repeated, it is what was written down first."""
        async with self._engine.begin() as connection:
            uploads = await self._uploads(connection, image)
            chosen = next((each for each in uploads if each.id == upload_id), None) if upload_id else current(uploads, image, provider)
            row = (await connection.execute(sa.select(t.image_boots.c.upload).where(t.image_boots.c.node == node))).first()
            if row is not None:
                return next((upload for upload in uploads if upload.id == row.upload), None)
            if chosen is not None:
                await connection.execute(insert(t.image_boots).values(node=node, upload=chosen.id, created=_now()))
            return chosen

    async def booted(self, node: str, failed: str = "") -> tuple[Withdraw, ...]:
        """The node is up, or why it did not come up. Returns what was withdrawn because of it."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key("images"))))
            await connection.execute(sa.update(t.image_boots).where(t.image_boots.c.node == node).values(ended=_now(), failed=failed))
            if not failed:
                return ()
            ended = t.image_boots.c.ended
            rows = await connection.execute(sa.select(t.image_boots).where(ended > _now() - PROBATION))
            withdrawn = rollbacks(await self._uploads(connection), [Boot(r.upload, r.ended, r.failed) for r in rows], _now())
            for each in withdrawn:
                values = {"state": UploadState.WITHDRAWN, "message": each.reason}
                await connection.execute(sa.update(t.image_uploads).where(t.image_uploads.c.id == each.upload).values(**values))
            if withdrawn:
                await self._tell(connection)
            return withdrawn

    async def users(self) -> dict[str, int]:
        """How many nodes run on each upload, starting and leaving ones too."""
        async with self._engine.connect() as connection:
            query = (
                sa.select(t.image_boots.c.upload, sa.func.count().label("nodes"))
                .join(t.nodes, t.nodes.c.id == t.image_boots.c.node)
                .group_by(t.image_boots.c.upload)
            )
            return {row.upload: row.nodes for row in await connection.execute(query)}

    async def begin_proof(self, node: str, upload: Upload, label: str) -> None:
        """A node that proves an upload: on hold until `end_proof`, so that no build gets it and no housekeeping takes it."""
        await self._hold(node, upload, label, PROVES, upload)

    async def begin_snapshot(self, node: str, upload: Upload, label: str, base: Upload | None) -> None:
        """A node that becomes an upload, on hold as one that proves it. It runs on `base`, if on any upload of ours."""
        await self._hold(node, upload, label, BECOMES, base)

    async def _hold(self, node: str, upload: Upload, label: str, what: str, runs_on: Upload | None) -> None:
        async with self._engine.begin() as connection:
            values = {"label": label, "provider": upload.provider, "state": NodeState.HOLD, "message": _purpose(what, upload)}
            await connection.execute(insert(t.nodes).values(id=node, created=_now(), changed=_now(), **values))
            if runs_on is not None:
                await connection.execute(insert(t.image_boots).values(node=node, upload=runs_on.id, created=_now()))

    async def proving(self, upload: Upload) -> list[str]:
        """Nodes that an earlier proof of this upload, or its making, left."""
        ours = t.nodes.c.message.in_([_purpose(what, upload) for what in (PROVES, BECOMES)])
        async with self._engine.connect() as connection:
            query = sa.select(t.nodes.c.id).where(t.nodes.c.provider == upload.provider, t.nodes.c.state == NodeState.HOLD, ours)
            return [row.id for row in await connection.execute(query)]

    async def end_proof(self, node: str) -> None:
        """The node is gone."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.nodes).where(t.nodes.c.id == node))

    # ---- pauses, and what may go

    async def pause(self, image: str, paused: bool) -> None:
        async with self._engine.begin() as connection:
            if paused:
                await connection.execute(insert(t.image_pauses).values(image=image, since=_now()).on_conflict_do_nothing())
            else:
                await connection.execute(sa.delete(t.image_pauses).where(t.image_pauses.c.image == image))
            await self._tell(connection)

    async def paused(self) -> set[str]:
        async with self._engine.connect() as connection:
            return {row.image for row in await connection.execute(sa.select(t.image_pauses.c.image))}

    async def superfluous(self, policies: Mapping[str, Policy]) -> tuple[DeleteUpload | DeleteFiles | DropFormat, ...]:
        """What `headgate.images.retention` says is to go; uploads among it are written down as going away."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key("images"))))
            builds, uploads = await self._builds(connection), await self._uploads(connection)
            running = sa.select(t.image_boots.c.upload).join(t.nodes, t.nodes.c.id == t.image_boots.c.node)
            used = {row.upload for row in await connection.execute(running)}
            actions = retention(builds, uploads, used, policies)
            going = [action.upload for action in actions if isinstance(action, DeleteUpload)]
            await connection.execute(sa.update(t.image_uploads).where(t.image_uploads.c.id.in_(going)).values(state=UploadState.DELETING))
            return actions
