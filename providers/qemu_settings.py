"""What the configuration says of driver `qemu`."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from providers.base import LimitedSettings, Settings
from providers.qemu_machine import Accelerator, Boot


class QemuLabel(Settings):
    """Either `image`, one that Headgate builds, or `file`, a disk (qcow2 or raw) that nobody writes to while nodes run on it. `ram` is MiB,
    `disk` GiB (0: as large as the image). `kernel`, `initrd` and `kernel_arguments` start images without a boot loader."""

    name: str = Field(min_length=1)
    image: str = ""
    file: Path | None = None
    username: str = "zuul"
    python_path: str = "/usr/bin/python3"
    cores: int = Field(default=1, ge=1)
    ram: int = Field(default=1024, ge=128)
    disk: int = Field(default=0, ge=0)
    kernel: Path | None = None
    initrd: Path | None = None
    kernel_arguments: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> QemuLabel:
        if bool(self.image) == bool(self.file):
            raise ValueError(f"{self.name} needs either image, the name of one that Headgate builds, or file, a disk")
        if self.kernel is None and (self.initrd or self.kernel_arguments):
            raise ValueError(f"{self.name} has initrd or kernel-arguments, which mean something only with kernel")
        return self

    @property
    def boot(self) -> Boot:
        return Boot(str(self.kernel or ""), str(self.initrd or ""), self.kernel_arguments)


class QemuSettings(LimitedSettings):
    """With `resume`, nodes go on from a saved machine where the image can. `network` is the addresses that nodes of one request have among
    themselves. `boot_timeout` is seconds until a machine that boots answers by SSH, `resume_timeout` until one that goes on does."""

    driver: Literal["qemu"]
    labels: tuple[QemuLabel, ...] = Field(min_length=1)
    directory: Path | None = None
    accelerator: Accelerator = "auto"
    resume: bool = True
    internet: bool = False
    network: IPv4Network = IPv4Network("10.214.0.0/24")
    boot_timeout: float = Field(default=300, gt=0)
    resume_timeout: float = Field(default=60, gt=0)
