"""Zuul's scheduler to compare with: its source distribution from PyPI, and Debian's ZooKeeper and PostgreSQL under it.

    apt install zookeeper libnetty-java libnetty-tcnative-java postgresql openssl default-jre-headless

Everything is made once in `HEADGATE_ZUUL` (a directory; it takes some minutes and 600 MB) and kept; the services are stopped at the end.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

VERSION = "14.3.0"
JARS = Path("/usr/share/java")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ZOOKEEPER = """dataDir={data}
tickTime=2000
maxClientCnxns=1000
admin.enableServer=false
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
secureClientPort={port}
ssl.keyStore.location={ca}/keystores/localhost.pem
ssl.trustStore.location={ca}/certs/cacert.pem
forceSync=no
"""


def is_possible() -> bool:
    """Is there what Debian has to bring, and a place to put the rest?"""
    return "HEADGATE_ZUUL" in os.environ and (JARS / "zookeeper.jar").exists() and bool(POSTGRES) and shutil.which("java") is not None


def run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run([str(each) for each in command], cwd=cwd, check=True, capture_output=True, timeout=900)


def install(root: Path) -> None:
    """Zuul's source in `zuul-14.3.0/`, an environment for its own tests in `venv/`, certificates in `ca/`."""
    source, environment = root / f"zuul-{VERSION}", root / "venv"
    root.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        python = environment / "bin" / "python"
        run(sys.executable, "-m", "venv", environment)
        run(python, "-m", "pip", "install", "-q", "wheel", "setuptools<81", "pbr")
        run(
            python,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            "zuul",
            "--no-build-isolation",
            "-d",
            root,
            f"zuul=={VERSION}",
        )
        unpacked = root / "unpacked"
        with tarfile.open(root / f"zuul-{VERSION}.tar.gz") as archive:
            archive.extractall(unpacked, filter="data")
        inside = unpacked / f"zuul-{VERSION}"
        run(python, "-m", "pip", "install", "-q", "-r", inside / "requirements.txt", "-r", inside / "test-requirements.txt", "openshift")
        inside.rename(source)
        run(python, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "-e", source)
    if not (root / "ca" / "keystores" / "localhost.pem").exists():
        (root / "ca").mkdir(exist_ok=True)
        run("bash", source / "tools" / "zk-ca.sh", root / "ca", "localhost", cwd=root)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int, seconds: float = 60) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def process(*command: str | Path) -> Iterator[None]:
    with subprocess.Popen([str(each) for each in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


@contextmanager
def zookeeper(root: Path, directory: Path) -> Iterator[dict[str, str]]:
    port = free_port()
    (directory / "zoo.cfg").write_text(ZOOKEEPER.format(data=directory / "zookeeper", port=port, ca=root / "ca"))
    jars = ":".join(map(str, [*JARS.glob("zookeeper*.jar"), *JARS.glob("netty*.jar"), JARS / "slf4j-api.jar", JARS / "slf4j-nop.jar"]))
    with process("java", "-Xmx256m", "-cp", jars, "org.apache.zookeeper.server.ZooKeeperServerMain", directory / "zoo.cfg"):
        answers(port)
        ca = root / "ca"
        yield {
            "ZUUL_ZK_HOST": f"localhost:{port}",
            "ZUUL_ZK_CA": str(ca / "certs" / "cacert.pem"),
            "ZUUL_ZK_CERT": str(ca / "certs" / "client.pem"),
            "ZUUL_ZK_KEY": str(ca / "keys" / "clientkey.pem"),
        }


@contextmanager
def postgresql(directory: Path) -> Iterator[dict[str, str]]:
    """With the account that Zuul's tests use. PostgreSQL refuses to be root, so root lends it to `postgres`."""
    port, data, programs = free_port(), directory / "postgresql", POSTGRES[-1]
    lent = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    data.mkdir()
    if lent:
        shutil.chown(data, "postgres")
        for parent in (directory, *directory.parents):
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    run(*lent, programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres")
    options = ("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=300", "-c", f"unix_socket_directories={data}")
    with process(*lent, programs / "postgres", "-D", data, "-p", str(port), *options):
        answers(port)
        for sentence in ("create role openstack_citest superuser login password 'openstack_citest'",
                         "create database openstack_citest owner openstack_citest"):  # fmt: skip
            run(programs / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-c", sentence)
        yield {"PGPORT": str(port)}


@contextmanager
def installation(directory: Path) -> Iterator[dict[str, str]]:
    """The environment variables under which `zuul_scheduler` runs."""
    root = Path(os.environ["HEADGATE_ZUUL"]).resolve()
    install(root)
    with ExitStack() as services:
        yield {
            **os.environ,
            **services.enter_context(zookeeper(root, directory)),
            **services.enter_context(postgresql(directory)),
            "PATH": f"{root / 'venv' / 'bin'}:{os.environ['PATH']}",
            "OS_LOG_CAPTURE": "1",
        }
