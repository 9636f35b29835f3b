"""The one configuration file of an installation, as typed values.

    state-dir: .headgate            # everything Headgate keeps here, relative to this file
    tenants: main.yaml              # Zuul's tenant file
    database: embedded              # or postgresql://user:password@host/name
    prefect:
      host: 127.0.0.1
      port: 4200                    # or `url:` of a Prefect server that runs already
    web:
      host: 127.0.0.1
      port: 8080
    connections:
      - {name: gerrit, driver: gerrit, server: review.example.org, user: zuul, sshkey: id_ed25519}
    providers:
      - {name: local, driver: local, labels: [local]}

Connections and providers are checked by their drivers, which say which keys they take.
"""

from __future__ import annotations

import difflib
import ipaddress
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from headgate.problems import Problem
from headgate.reruns import parse_policy


class SettingsProblem(Problem):
    """The configuration file is not right; one sentence with file, line and key."""


def dashed(name: str) -> str:
    """`state_dir` as it is written in the file: `state-dir`."""
    return name.replace("_", "-")


class Section(BaseModel):
    """A part of the file: keys are written with dashes, and an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, alias_generator=AliasGenerator(alias=dashed))


class PrefectSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(4200, ge=1, le=65535)
    url: str | None = None
    """`http(s)://…/api` of a server that runs already; none is started then."""
    auth: str | None = None
    """`user:password`, required to bind beyond loopback."""


class WebSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    url: str | None = None
    """How others reach it, for links in reports; by default `http://HOST:PORT`."""
    finger_port: int | None = Field(None, ge=1, le=65535)
    """Where consoles are read over plain TCP."""


class WorkerSettings(Section):
    changes: int = Field(200, ge=1)
    """Change runs at once in one worker."""
    jobs: int = Field(20, ge=1)
    """Job runs at once in one worker."""
    job_disk: int = Field(20_000, ge=0)
    """Megabytes one job may fill on the worker's disk; 0 for no limit."""
    user: str = "nobody"
    """Whose the processes of jobs are where Headgate itself runs as root: an account without rights."""
    reach: tuple[str, ...] | None = None
    """What untrusted playbooks reach from the worker's machine besides their nodes: networks or addresses. None: whatever it reaches."""
    trusted_reach: tuple[str, ...] | None = None
    """The same for trusted playbooks."""
    images: int = Field(1, ge=0)
    """Image builds and uploads at once in one worker; 0 for a worker on a machine that cannot build."""
    home: str | None = None
    """For a worker without the state directory of `headgate up`: where the web pages of that one are."""
    secret: Path | None = None
    """The file by which such workers are known; `worker-secret` in the state directory unless said."""

    @field_validator("reach", "trusted_reach")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for one in value or ():
            ipaddress.ip_network(one, strict=False)
        return value


class ImagesSettings(Section):
    dir: Path | None = None
    """Where builds, their logs and caches are kept; `images` in the state directory unless said."""
    elements: tuple[Path, ...] = ()
    """Directories of diskimage-builder elements, searched before Headgate's own."""
    logs: int = Field(7, ge=1)
    """Of every image, so many builds whose files are gone are remembered with their logs."""


class LabelSettings(Section):
    """`max_ready_age` is seconds, 0 for no limit; Nodepool's keys."""

    name: str
    min_ready: int = Field(0, ge=0)
    max_ready_age: int = Field(0, ge=0)


class TenantLimits(Section):
    """What a tenant's nodes may take at once over all providers; `max_ram` is MiB, `max_volume_gb` GiB. Nodepool's keys."""

    tenant_name: str
    max_servers: int | None = Field(None, ge=0)
    max_cores: int | None = Field(None, ge=0)
    max_ram: int | None = Field(None, ge=0)
    max_volumes: int | None = Field(None, ge=0)
    max_volume_gb: int | None = Field(None, ge=0)


class LogSettings(Section):
    driver: Literal["local", "swift", "s3"] = "local"
    """Where what builds leave is published; always on the worker's own disk too, for `keep-days`."""
    container: str = "headgate-logs"
    """The Swift container or S3 bucket, made if it is not there."""
    prefix: str = ""
    """What the names of objects begin with, such as `ci/`."""
    url: str | None = None
    """Where people find the container, if that is not the store's own address."""
    keep_days: int = Field(90, ge=1)
    public: bool = True
    """Whether everybody may read it."""
    cloud: str | None = None
    """Swift: a cloud of clouds.yaml."""
    region: str | None = None
    segment_bytes: int = Field(5_000_000_000, ge=1)
    """Swift: larger files are put in parts."""
    endpoint: str | None = None
    """S3: the address of a store that is not Amazon's."""
    access_key: str | None = None
    secret_key: str | None = Field(None, repr=False)
    ara: bool = False
    """Whether each build's logs have a report by ARA (`pip install 'headgate[ara]'`)."""


class Settings(Section):
    state_dir: Path = Path(".headgate")
    tenants: Path
    database: str = "embedded"
    prefect: PrefectSettings = PrefectSettings()
    web: WebSettings = WebSettings()
    worker: WorkerSettings = WorkerSettings()
    logs: LogSettings = LogSettings()
    connections: tuple[dict[str, Any], ...] = ()
    """None at all is enough for `headgate try`; those that the tenant file names must be here for `headgate up`."""
    providers: tuple[dict[str, Any], ...] = ()
    labels: tuple[LabelSettings, ...] = ()
    """Labels of which nodes are kept ready; others need not be named."""
    tenant_resource_limits: tuple[TenantLimits, ...] = ()
    max_hold_age: int = Field(0, ge=0)
    """Seconds after which a held node goes away, 0 for never, unless who held it said otherwise."""
    images: ImagesSettings = ImagesSettings()
    diskimages: tuple[dict[str, Any], ...] = ()
    keep_days: int = Field(90, ge=1)
    """Left items, their builds and logs are deleted after that many days."""
    reruns: str = "vote"
    """What becomes of a change's vote when jobs of it ran again: `evidence`, `vote`, `votes-after N`. In a gate it is always evidence."""
    directory: Path = Path()
    """Where the file is; relative paths in it start there."""

    @field_validator("database")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value != "embedded" and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError(f"'{value}' is neither 'embedded' nor a postgresql:// URL")
        return value

    @model_validator(mode="after")
    def _a_worker_elsewhere_knows_the_way(self) -> Settings:
        if self.worker.home is not None and (self.database == "embedded" or self.prefect.url is None):
            raise ValueError("a worker with a `worker.home` on another machine needs that machine's `database:` and `prefect.url:`")
        return self

    @field_validator("reruns")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        parse_policy(value)
        return value

    @property
    def state(self) -> Path:
        return (self.directory / self.state_dir).resolve()

    @property
    def image_directory(self) -> Path:
        return (self.directory / self.images.dir).resolve() if self.images.dir is not None else self.state / "images"

    @property
    def tenant_file(self) -> Path:
        return (self.directory / self.tenants).resolve()

    @property
    def prefect_url(self) -> str:
        """Where Prefect's API is."""
        return self.prefect.url or f"http://{self.prefect.host}:{self.prefect.port}/api"

    @property
    def prefect_ui(self) -> str:
        return self.prefect_url.removesuffix("/api").rstrip("/")

    @property
    def web_url(self) -> str:
        return (self.web.url or f"http://{self.web.host}:{self.web.port}").rstrip("/")


def _line_of(node: yaml.Node | None, path: tuple[int | str, ...]) -> int | None:
    """The line (from 1) of the innermost key of `path` that is in the document."""
    line = None if node is None else node.start_mark.line + 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value in (step, dashed(str(step))):
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _sentence(error: Any, model: type[BaseModel]) -> str:
    location = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        known = [dashed(name) for name in _model_at(model, error["loc"][:-1]).model_fields if name != "directory"]
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"allowed are {', '.join(sorted(known))}."
        return f"'{location}' is not a known key; {hint}"
    if error["type"] == "missing":
        return f"'{location}' is missing."
    message = error["msg"].removeprefix("Value error, ")
    told = "found" in message or repr(error["input"]) in message
    return f"'{location}': {message[0].lower()}{message[1:]}" + ("." if told else f" (found {error['input']!r}).")


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    for step in path:
        for name, field in model.model_fields.items():
            if step in (name, dashed(name)) and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                model = field.annotation
    return model


def parse_settings(text: str, path: Path) -> Settings:
    """The file's text as settings. Raises `SettingsProblem` with file, line and key of the first thing that is wrong."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise SettingsProblem(f"{path}:{line}: this is not YAML: {problem.problem}.") from problem
    except yaml.YAMLError as problem:
        raise SettingsProblem(f"{path}: this is not YAML: {problem}.") from problem
    if not isinstance(value, dict):
        raise SettingsProblem(f"{path}:1: expected keys such as 'tenants:' and 'connections:', found {type(value).__name__}.")
    try:
        return Settings.model_validate({**value, "directory": path.parent.absolute()})
    except ValidationError as problem:
        error = problem.errors()[0]
        raise SettingsProblem(f"{path}:{_line_of(node, error['loc']) or 1}: {_sentence(error, Settings)}") from problem
