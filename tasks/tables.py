"""The tables of the store. Changed only together with a migration in `tasks/migrations/versions`."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _moment(name: str, **keywords: object) -> Column[object]:
    return Column(name, DateTime(timezone=True), **keywords)  # type: ignore[arg-type]  # SQLAlchemy's own keywords, passed on


installation = Table(
    "installation",
    metadata,
    Column("id", String, primary_key=True, comment="names this installation on everything it owns outside"),
    _moment("created", nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", String, primary_key=True),
    Column("sequence", BigInteger, Identity(), nullable=False, unique=True),
    Column("connection", String, nullable=False),
    Column("type", String, nullable=False),
    _moment("created", nullable=False),
    Column("body", JSONB, nullable=False),
    _moment("handled"),
    Column("outcome", Text, nullable=False, server_default=""),
)
Index("ix_events_new", events.c.sequence, postgresql_where=events.c.handled.is_(None))
Index("ix_events_connection", events.c.connection, events.c.created)

layouts = Table(
    "layouts",
    metadata,
    Column("id", String, primary_key=True, comment="digest of the branches below"),
    Column("tenant", String, nullable=False),
    Column("branches", JSONB, nullable=False, comment="canonical project -> branch -> commit the configuration was read at"),
    _moment("created", nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("project", String, nullable=False),
    Column("change", JSONB, nullable=False),
    Column("change_key", String, nullable=False, comment="connection/number/patchset, to look up by"),
    Column("changes", JSONB, nullable=False, server_default="[]", comment="all changes of a cycle, `change` among them"),
    Column("live", Boolean, nullable=False, server_default="true", comment="false: there only to be tested on top of"),
    Column("state", JSONB, comment="headgate.gating.Item without its graph; of one that left, as it was last"),
    _moment("enqueued", nullable=False),
    Column("event", String, nullable=False, server_default=""),
    Column("flow_run", String, comment="of its newest buildset"),
    _moment("dequeued"),
    Column("reason", Text, nullable=False, server_default=""),
    _moment("cancelled"),
)
Index("ix_items_live", items.c.tenant, items.c.pipeline, postgresql_where=items.c.dequeued.is_(None))
Index("ix_items_change_key", items.c.change_key)
Index("ix_items_flow_run", items.c.flow_run)

buildsets = Table(
    "buildsets",
    metadata,
    Column("id", String, primary_key=True),
    Column("item", String, ForeignKey("items.id", ondelete="CASCADE"), nullable=False, index=True),
    _moment("created", nullable=False),
    Column("projects", JSONB, nullable=False),
    Column("graph", JSONB),
    Column("problem", String),
    Column("messages", JSONB, nullable=False),
    Column("secrets", JSONB, nullable=False, server_default="{}", comment="encrypted, as their projects' configuration has them"),
    Column("ahead", JSONB, nullable=False, server_default="[]", comment="changes it is tested on top of, oldest first"),
    Column("changes", JSONB, nullable=False, server_default="[]", comment="the item's own changes"),
    Column("takes_part", Boolean, nullable=False, server_default="true"),
    Column("comments", JSONB, nullable=False, server_default="[]", comment="configuration errors on lines of its changes"),
    Column("flow_run", String),
    _moment("prepared"),
    _moment("ended"),
    Column("result", String, nullable=False, server_default="", comment="empty for one that was given up and whose run was not told yet"),
)
Index("ix_buildsets_live", buildsets.c.item, postgresql_where=buildsets.c.ended.is_(None))
Index("ix_buildsets_flow_run", buildsets.c.flow_run)
Index("ix_buildsets_given_up", buildsets.c.flow_run, postgresql_where=sqlalchemy.text("ended IS NOT NULL AND result = ''"))

builds = Table(
    "builds",
    metadata,
    Column("id", String, primary_key=True),
    Column("buildset", String, ForeignKey("buildsets.id", ondelete="CASCADE"), nullable=False),
    Column("job", String, nullable=False),
    Column("position", Integer, nullable=False, server_default="0", comment="of the change, in the item, that the job runs for"),
    Column("round", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("voting", Boolean, nullable=False),
    Column("flow_run", String),
    _moment("created", nullable=False),
    _moment("started"),
    _moment("ended"),
    _moment("cancelled", comment="when it was asked to stop"),
    _moment("failing", comment="when it was known that it will fail, before its end"),
    _moment("unpublished", comment="from when on its logs are to be put into the store that they are not in yet"),
    Column("result", String),
    Column("message", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default="", comment="why it runs again"),
    Column("nodes", JSONB, nullable=False, server_default="[]"),
    Column("data", JSONB, nullable=False, server_default="{}"),
    Column("warnings", JSONB, nullable=False, server_default="[]"),
    UniqueConstraint("buildset", "job", "position", "round", "attempt"),
)
Index("ix_builds_created", builds.c.created)
Index("ix_builds_rerun", builds.c.ended, postgresql_where=builds.c.round > 1)
Index("ix_builds_unpublished", builds.c.unpublished, postgresql_where=builds.c.unpublished.is_not(None))
Index("ix_builds_job", builds.c.job, builds.c.created)

node_requests = Table(
    "node_requests",
    metadata,
    Column("id", String, primary_key=True, comment="the build's id"),
    Column("labels", JSONB, nullable=False, comment="one label per node, in the nodeset's order"),
    Column("precedence", Integer, nullable=False),
    Column("project", String, nullable=False),
    Column("tenant", String, nullable=False),
    _moment("created", nullable=False),
    Column("state", String, nullable=False, comment="requested, fulfilled, failed, released"),
    Column("provider", String, nullable=False, server_default=""),
    Column("zone", String, nullable=False, server_default=""),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("declined", JSONB, nullable=False, server_default="[]"),
    Column("reason", Text, nullable=False, server_default=""),
)
Index("ix_node_requests_open", node_requests.c.created, postgresql_where=node_requests.c.state == "requested")

nodes = Table(
    "nodes",
    metadata,
    Column("id", String, primary_key=True),
    Column("request", String, nullable=False, server_default="", index=True),
    Column("label", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("zone", String, nullable=False, server_default=""),
    Column("state", String, nullable=False, comment="headgate.nodes.NodeState"),
    Column("message", Text, nullable=False, server_default=""),
    _moment("created", nullable=False),
    _moment("changed", nullable=False),
    Column("node", JSONB, comment="providers.base.Node once it is up"),
    _moment("hold_until", comment="a held node goes away then; never, without"),
    Column("ahead", Boolean, nullable=False, server_default="false", comment="it was launched before anybody asked for it"),
)

node_history = Table(
    "node_history",
    metadata,
    Column("id", String, primary_key=True, comment="the node's"),
    Column("label", String, nullable=False),
    Column("provider", String, nullable=False),
    _moment("created", nullable=False),
    _moment("up"),
    _moment("ended"),
    Column("failed", Text, nullable=False, server_default="", comment="why it did not come up"),
)
Index("ix_node_history_created", node_history.c.created)

autoholds = Table(
    "autoholds",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("project", String, nullable=False),
    Column("job", String, nullable=False),
    Column("change", String, nullable=False, server_default="", comment="number, or number,patchset; any, without"),
    Column("count", Integer, nullable=False, comment="how many failed builds more it holds the nodes of"),
    Column("hold_seconds", Integer, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    _moment("created", nullable=False),
    _moment("expires"),
)

full_providers = Table(
    "full_providers",
    metadata,
    Column("provider", String, primary_key=True),
    _moment("since", nullable=False),
    comment="providers that answered 'no room' and have given nothing back since",
)

reports = Table(
    "reports",
    metadata,
    Column("id", String, primary_key=True),
    Column("item", String, ForeignKey("items.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("buildset", String, ForeignKey("buildsets.id", ondelete="CASCADE"), index=True),
    Column("kind", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("labels", JSONB, nullable=False),
    Column("comments", JSONB, nullable=False, server_default="[]"),
    _moment("created", nullable=False),
    _moment("sent"),
    Column("refused", Text, nullable=False, server_default=""),
    Column("sequence", BigInteger, Identity(), nullable=False, unique=True),
    Column("change", JSONB),
    Column("reporters", JSONB, nullable=False, server_default="[]"),
    Column("answer", Boolean, nullable=False, server_default="false", comment="the item's queue waits until it is sent"),
    Column("by_flow", Boolean, nullable=False, server_default="false", comment="said by the buildset's flow run, else by the scheduler"),
)
Index("ix_reports_unsent", reports.c.sequence, postgresql_where=reports.c.sent.is_(None))

pipelines = Table(
    "pipelines",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("pipeline", String, primary_key=True),
    Column("state", JSONB, nullable=False, comment="headgate.gating.PipelineState without its items"),
)

semaphores = Table(
    "semaphores",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("holders", JSONB, nullable=False, comment="semaphore -> [pipeline, buildset, job]"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", String, primary_key=True),
    Column("sequence", BigInteger, Identity(), nullable=False, unique=True),
    Column("tenant", String, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("kind", String, nullable=False, comment="enqueue, dequeue, promote, resume"),
    Column("changes", JSONB, nullable=False, server_default="[]", comment="[connection, number, patchset]"),
    Column("refs", JSONB, nullable=False, server_default="[]", comment="those of them that are branches and tags, whole"),
    Column("item", String, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    _moment("created", nullable=False),
    _moment("handled"),
    Column("outcome", Text, nullable=False, server_default=""),
    comment="what a person or a flow asks of the scheduler",
)
Index("ix_commands_new", commands.c.sequence, postgresql_where=commands.c.handled.is_(None))

workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("lease", BigInteger, nullable=False, comment="key of the advisory lock its own database session holds while it lives"),
    Column("hostname", String, nullable=False),
    Column("process", Integer, nullable=False),
    _moment("started", nullable=False),
    _moment("gone"),
)

claims = Table(
    "claims",
    metadata,
    Column("flow_run", String, primary_key=True),
    Column("worker", String, ForeignKey("workers.id", ondelete="CASCADE"), nullable=False),
    _moment("claimed", nullable=False),
    comment="flow runs a worker is running now; a claim of a worker whose lease is free is a crashed run",
)

image_builds = Table(
    "image_builds",
    metadata,
    Column("id", String, primary_key=True),
    Column("image", String, nullable=False, index=True),
    Column("state", String, nullable=False, comment="headgate.images.BuildState"),
    _moment("created", nullable=False),
    _moment("ended"),
    Column("files", JSONB, nullable=False, server_default="{}", comment="format -> {size, md5, sha256}"),
    Column("message", Text, nullable=False, server_default=""),
    Column("flow_run", String, nullable=False, server_default=""),
)

image_uploads = Table(
    "image_uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("build", String, ForeignKey("image_builds.id", ondelete="CASCADE"), nullable=False),
    Column("image", String, nullable=False, index=True),
    Column("provider", String, nullable=False),
    Column("format", String, nullable=False),
    Column("state", String, nullable=False, comment="headgate.images.UploadState"),
    _moment("created", nullable=False),
    _moment("promoted"),
    Column("external_id", String, nullable=False, server_default="", comment="what the provider boots it by"),
    Column("message", Text, nullable=False, server_default=""),
    UniqueConstraint("build", "provider"),
)

image_boots = Table(
    "image_boots",
    metadata,
    Column("node", String, primary_key=True),
    Column("upload", String, ForeignKey("image_uploads.id", ondelete="CASCADE"), nullable=False, index=True),
    _moment("created", nullable=False),
    _moment("ended"),
    Column("failed", Text, nullable=False, server_default="", comment="why it did not come up"),
    comment="which upload each node was started from",
)

image_pauses = Table(
    "image_pauses",
    metadata,
    Column("image", String, primary_key=True),
    _moment("since", nullable=False),
    comment="images that are built only when somebody asks for it",
)
