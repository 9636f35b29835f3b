"""The environment that OpenStack's services run in: made once per checkout beside `.venv`, again when `requirements.lock` changes.

python -m tests.services.openstack.environment      # makes it ahead of the tests
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
ENVIRONMENT = Path(__file__).parents[3] / ".venv-openstack"
SYSTEM_PYTHON = "/usr/bin/python3.11"
"""Preferred to whatever runs the tests: it stays where it is."""
SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
ATTEMPTS, ATTEMPT_SECONDS = 4, 240
"""Of an installation, which fetches 200 packages. What one attempt has fetched is in uv's cache for the next."""


def openstack_python() -> Path:
    """The interpreter of the environment, installed if need be: 620 MB, 5 to 20 s. Raises `subprocess.SubprocessError`."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    ENVIRONMENT.mkdir(exist_ok=True)
    with (ENVIRONMENT / ".making").open("w") as lock:  # not `.lock`: that is uv's own, and it would wait for us
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != LOCK.read_text():
            base = SYSTEM_PYTHON if Path(SYSTEM_PYTHON).exists() else sys.executable
            subprocess.run([*_uv(), "venv", "-q", "--allow-existing", "--python", base, str(ENVIRONMENT)], check=True)
            _again_and_again([*_uv(), "pip", "sync", "-q", "--compile-bytecode", "--python", str(python), str(LOCK)])
            stamp.write_text(LOCK.read_text())
        _lend_libvirt()
    return python


def libvirt_is_here() -> bool:
    """Whether there is to be a region with real guests (`HEADGATE_REAL_GUESTS`; `make test-cloud` asks for it) and can be: as root, with
    Debian's libvirt and its bindings for the Python of the environment."""
    if not os.environ.get("HEADGATE_REAL_GUESTS"):
        return False
    programs = [shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("libvirtd", "qemu-system-x86_64", "genisoimage", "bwrap", "ip")]
    return os.geteuid() == 0 and all(programs) and Path(SYSTEM_PYTHON).exists() and bool(list(SYSTEM_PACKAGES.glob("libvirtmod.*")))


def _lend_libvirt() -> None:
    """The bindings are no package that can be installed without a compiler: the system's are shown to the environment, and nothing else
    that lies beside them."""
    [packages] = (ENVIRONMENT / "lib").glob("python3*/site-packages")
    for file in (*SYSTEM_PACKAGES.glob("libvirt*.py"), *SYSTEM_PACKAGES.glob("libvirtmod*.so")):
        if not (packages / file.name).exists():
            (packages / file.name).symlink_to(file)


def _again_and_again(command: list[str]) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            subprocess.run(command, check=True, timeout=ATTEMPT_SECONDS, env=os.environ | {"UV_HTTP_TIMEOUT": "30"})
            return
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as problem:
            if attempt == ATTEMPTS:
                raise
            print(f"attempt {attempt} of {ATTEMPTS} to install OpenStack failed ({problem}); again", file=sys.stderr, flush=True)


def _uv() -> list[str]:
    """As `install.sh` installs it; else the one on PATH."""
    if subprocess.run([sys.executable, "-m", "uv", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    assert found, "uv is missing; ./install.sh installs it"
    return [found]


if __name__ == "__main__":
    began = time.monotonic()
    openstack_python()
    print(f"OpenStack is installed in {ENVIRONMENT.name} ({time.monotonic() - began:.0f} s)")
