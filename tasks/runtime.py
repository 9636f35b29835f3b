"""What a process needs to do Headgate's work: settings, store, connections, git caches, providers, tenants' layouts.

A flow asks for it by `runtime()`. The worker opens it once and hands it over with `set_runtime`; a flow that Prefect runs elsewhere (by
`prefect worker start`, say) opens it from the file that the environment variable HEADGATE_CONFIG names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from pydantic import TypeAdapter, ValidationError

from headgate.changes import Change
from headgate.diskimages import ImageSettings, parse_diskimages
from headgate.settings import Settings, SettingsProblem
from providers.base import Provider
from providers.registry import create
from tasks.connection_registry import open_connection
from tasks.connection_settings import ConnectionSettings
from tasks.connections import Connection
from tasks.database import Listener, migrate, open_engine
from tasks.git import Caches
from tasks.home import Home, open_home
from tasks.image_store import ImageRecords
from tasks.installation import CONFIG_VARIABLE, database_url, read_settings
from tasks.node_store import NodeStore
from tasks.store import Store
from tasks.tenants import Tenants

_connection_settings: TypeAdapter[ConnectionSettings] = TypeAdapter(ConnectionSettings)


def located(section: dict[str, Any], directory: Path) -> dict[str, Any]:
    """A provider's settings with its paths beginning at the configuration file's directory."""
    paths = {
        key: str(directory / Path(section[key]).expanduser())
        for key in ("private-key", "directory", "tree", "file", "kernel", "initrd")
        if isinstance(section.get(key), str)
    }
    below = {
        name: [located(entry, directory) if isinstance(entry, dict) else entry for entry in section[name]]
        for name in ("nodes", "labels")
        if isinstance(section.get(name), list)
    }
    return {**section, **paths, **below}


def open_connections(settings: Settings) -> dict[str, Connection]:
    """Every configured connection by name; nothing outside is touched yet. Raises `SettingsProblem`."""
    found: dict[str, Connection] = {}
    for number, section in enumerate(settings.connections):
        where = f"connections[{number}] ({section.get('name', 'without a name')})"
        values = {key.replace("-", "_"): value for key, value in section.items()}
        for key in ("sshkey", "path", "known_hosts"):
            literal = key == "known_hosts" and (" " in values.get(key, "") or not values.get(key))
            if isinstance(values.get(key), str) and not literal:
                values[key] = str(settings.directory / Path(values[key]).expanduser())
        try:
            parsed = _connection_settings.validate_python(values)
        except ValidationError as problem:
            error = problem.errors()[0]
            key = ".".join(str(step).replace("_", "-") for step in error["loc"] if step not in ("gerrit", "git"))
            raise SettingsProblem(f"{where}: {key or 'driver'}: {error['msg']}.") from problem
        if parsed.name in found:
            raise SettingsProblem(f"{where}: there is another connection of that name.")
        found[parsed.name] = open_connection(parsed)
    return found


def open_providers(settings: Settings) -> dict[str, Provider]:
    """Every configured provider by name; nothing outside is touched yet. Raises `SettingsProblem`."""
    sections = (located(section, settings.directory) for section in settings.providers)
    return {provider.name: provider for provider in (create(section, settings.state / "nodes") for section in sections)}


@dataclass
class Runtime:
    """One process's tools. `stopping` is set when the process ends and its runs are to start again elsewhere."""

    settings: Settings
    database_url: str
    store: Store
    nodes: NodeStore
    images: ImageRecords
    prefect: PrefectClient
    connections: dict[str, Connection]
    caches: Caches
    tenants: Tenants
    providers: dict[str, Provider]
    owner: str
    home: Home | None = None
    """Where what builds write is sent; None where the state directory is home."""
    diskimages: dict[str, ImageSettings] = field(default_factory=dict)
    worker: str = ""
    stopping: bool = field(default=False)

    @classmethod
    async def open(cls, settings: Settings) -> Runtime:
        """Connect to the database (bringing its schema up to date) and prepare the rest. Raises a `Problem`."""
        diskimages = parse_diskimages(settings.diskimages)
        url = database_url(settings)
        engine = open_engine(url)
        await migrate(engine)
        listener = Listener(url)
        await listener.start()
        store = Store(engine, listener)
        owner = await store.owner()
        connections = open_connections(settings)
        caches = Caches(settings.state / "git")
        providers = open_providers(settings)
        prefect = get_client()
        await prefect.__aenter__()
        return cls(
            settings=settings,
            database_url=url,
            store=store,
            nodes=NodeStore(engine),
            images=ImageRecords(engine),
            prefect=prefect,
            connections=connections,
            caches=caches,
            tenants=Tenants(settings.tenant_file, store, caches, connections),
            providers=providers,
            owner=owner,
            home=open_home(settings),
            diskimages=diskimages,
        )

    def canonical(self, change: Change) -> str:
        """Canonical name of a change's project. Raises `KeyError` when its connection is no longer configured."""
        return f"{self.connections[change.connection].canonical_hostname}/{change.project}"

    async def close(self) -> None:
        for connection in self.connections.values():
            await connection.close()
        for provider in self.providers.values():
            await provider.close()
        if self.home is not None:
            await self.home.close()
        await self.prefect.__aexit__(None, None, None)
        await self.store.close()


_current: Runtime | None = None


def set_runtime(runtime: Runtime | None) -> None:
    """Make `runtime` what flows of this process use."""
    global _current
    _current = runtime


async def runtime() -> Runtime:
    """The process's runtime; opened now if nobody did."""
    global _current
    if _current is None:
        _current = await Runtime.open(read_settings(Path(os.environ.get(CONFIG_VARIABLE, "headgate.yaml"))))
    return _current
