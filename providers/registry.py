"""The drivers a provider can have, by name: the settings each understands and how it is made.

A further driver is one file, one line here and the contract test; somebody else's is an entry point in the group
`headgate.providers` whose object is a `Driver`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headgate.nodes import Offer
from headgate.problems import Problem
from providers.base import Provider, ProviderSettings
from providers.local import LocalProvider, LocalSettings
from providers.namespace import NamespaceProvider, NamespaceSettings
from providers.openstack_settings import OpenStackSettings
from providers.qemu_settings import QemuSettings
from providers.static import StaticProvider, StaticSettings

ENTRY_POINTS = "headgate.providers"


@dataclass(frozen=True, slots=True)
class Driver:
    """`create(settings, directory)`: `directory` is the provider's own, kept between restarts; it may not exist yet."""

    settings: type[ProviderSettings]
    create: Callable[[Any, Path], Provider]


def _openstack(settings: OpenStackSettings, directory: Path) -> Provider:
    from providers.openstack import OpenStackProvider  # openstacksdk takes half a second to import, and most installations have no cloud

    return OpenStackProvider(settings, directory)


def _qemu(settings: QemuSettings, directory: Path) -> Provider:
    from providers.qemu import QemuProvider

    return QemuProvider(settings, directory)


DRIVERS: Mapping[str, Driver] = {
    "local": Driver(LocalSettings, LocalProvider),
    "namespace": Driver(NamespaceSettings, NamespaceProvider),
    "openstack": Driver(OpenStackSettings, _openstack),
    "qemu": Driver(QemuSettings, _qemu),
    "static": Driver(StaticSettings, StaticProvider),
}


def driver(name: str) -> Driver:
    """Raises `Problem` naming the nearest driver that exists. A third party's driver cannot replace one of ours."""
    if name in DRIVERS:
        return DRIVERS[name]
    others = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name in others:
        found = others[name].load()
        if not isinstance(found, Driver):
            raise Problem(f"The entry point {name} of {ENTRY_POINTS} is {found!r}; a providers.registry.Driver is expected.")
        return found
    known = sorted({*DRIVERS, *others})
    near = get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    raise Problem(f"No provider driver is called {name!r}: {advice}")


def create(configuration: Mapping[str, Any], state_directory: Path) -> Provider:
    """The provider that one entry of `providers:` describes. Raises `Problem` with one line per mistake."""
    name = configuration.get("name", "(without a name)")
    if not isinstance(configuration.get("driver"), str):
        raise Problem(f"provider {name}: driver is missing; it names the kind of provider, one of {', '.join(sorted(DRIVERS))}.")
    kind = driver(configuration["driver"])
    try:
        settings = kind.settings.model_validate(configuration)
    except ValidationError as problem:
        allowed = [field.alias or key for key, field in kind.settings.model_fields.items()]
        raise Problem("\n".join(f"provider {name}: {_sentence(error, allowed)}" for error in problem.errors())) from None
    return kind.create(settings, state_directory / settings.name)


def _sentence(error: Any, allowed: list[str]) -> str:
    path = ".".join(str(step) for step in error["loc"]) or "settings"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), allowed, n=1)
        return f"{path} is not known" + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(allowed)}.")
    if error["type"] == "missing":
        return f"{path} is missing."
    message = str(error["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{path}: {message[:1].lower()}{message[1:]}."


async def offer(provider: Provider, full: bool = False) -> Offer:
    """What the rules need to know of a provider now."""
    settings = provider.settings
    return Offer(
        provider.name,
        provider.labels,
        await provider.capacity(),
        settings.priority,
        provider.zones,
        1 + settings.launch_retries,
        full,
        settings.max_concurrency,
        provider.separate_networks,
    )
