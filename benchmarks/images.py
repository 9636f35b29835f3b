"""What Headgate adds to image builds: `python -m benchmarks.images [cache|build]`.

`cache`: 200 local repositories brought up to date at once, against diskimage-builder's own serial loop over the same ones.
`build`: wall and CPU of the whole flow `build-image` against `disk-image-create` alone and against mmdebstrap + mke2fs, the physical limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from flows.build_image import build_image
from headgate.diskimages import Places, disk_image_create, parse_diskimages
from headgate.settings import parse_settings
from services.postgres import EmbeddedPostgres
from tasks.database import migrate, open_engine
from tasks.diskimage import ELEMENTS, build_environment
from tasks.repository_cache import Origin, warm
from tasks.runtime import Runtime, set_runtime

COUNT = int(os.environ.get("HEADGATE_BENCH_REPOSITORIES", "200"))
HOOK = "source-repositories/extra-data.d/98-source-repositories"


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of `work`, its finished children's included."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = time.process_time()
    began = time.perf_counter()
    work()
    wall = time.perf_counter() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, time.process_time() - own + now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@localhost", *arguments], check=True, capture_output=True)


def make_repositories(directory: Path, count: int) -> dict[str, Origin]:
    origins = {}
    for number in range(count):
        path = directory / f"org/project-{number}"
        git("init", "-q", "-b", "master", str(path))
        (path / "README").write_text(f"{number}\n" * 50)
        git("-C", str(path), "add", "README")
        git("-C", str(path), "commit", "-q", "-m", "first")
        origins[f"local/org/project-{number}"] = Origin(str(path))
    return origins


def serial(work: Path, origins: dict[str, Origin]) -> None:
    """Diskimage-builder's own hook, over a list as OpenStack's element writes it."""
    import diskimage_builder

    hook = Path(next(iter(diskimage_builder.__path__))) / "elements" / HOOK
    hooks, mount = work / "hooks", work / "dib_build.bench" / "mnt"  # the shape of its names matters to the hook
    hooks.mkdir(exist_ok=True)
    (mount / "etc").mkdir(parents=True, exist_ok=True)
    lines = [f"{name.replace('/', '_')} git /opt/git/{name} {origin.url} *\n" for name, origin in origins.items()]
    (hooks / "source-repository-projects").write_text("".join(lines))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "TMP_HOOKS_PATH": str(hooks),
        "TMP_MOUNT_PATH": str(mount),
        "TARGET_ROOT": str(mount),
        "IMAGE_NAME": "bench",
        "DIB_IMAGE_CACHE": str(work / "cache"),
        "DIB_LOCKFILES": str(work),
        "DIB_DEFAULT_INSTALLTYPE": "source",
        "DIB_MANIFEST_IMAGE_DIR": "/etc",
        "DIB_OFFLINE": "",
    }
    environment["PATH"] = f"{Path(__file__).parent.parent / 'tasks/diskimage_tools/root'}:{environment['PATH']}"
    done = subprocess.run(["bash", str(hook)], env=environment, cwd=work, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the serial loop failed: {done.stderr[-2000:]}")
    subprocess.run(["rm", "-rf", str(mount)], check=True)


def cache() -> None:
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as name:
        place = Path(name)
        origins = make_repositories(place / "origins", COUNT)
        for state in ("empty", "warm"):
            theirs = measured(lambda: serial(place, origins))
            ours = measured(lambda: asyncio.run(warm(place / "ours", origins)))
            copied = measured(lambda: copy(place))
            faster = theirs[0] / (ours[0] + copied[0])
            print(
                f"{COUNT} repositories, {state} cache: diskimage-builder {theirs[0]:.1f} s ({theirs[1]:.1f} CPU s); Headgate fetches in "
                f"{ours[0]:.1f} s ({ours[1]:.1f}) and copies in {copied[0]:.1f} s ({copied[1]:.1f}): {faster:.1f} times"
            )


def copy(place: Path) -> None:
    """What the element `ci-repositories` does in the build."""
    mount = place / "mount"
    tools = Path(__file__).parent.parent / "tasks/diskimage_tools/root"
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "TMP_MOUNT_PATH": str(mount)}
    environment["DIB_CI_REPOSITORIES"] = str(place / "ours/repositories.list")
    subprocess.run(
        ["bash", str(ELEMENTS / "ci-repositories/extra-data.d/60-ci-repositories")], env=environment, check=True, capture_output=True
    )
    subprocess.run(["rm", "-rf", str(mount)], check=True)


SECTION = {
    "name": "debian",
    "elements": ["ci-debian", "vm", "block-device-mbr", "growroot", "ci-node", "ci-network", "ci-mirror-ca"],
    "release": "bookworm",
    "formats": ["qcow2"],
    "env-vars": {"DIB_JOURNAL_SIZE": "16"},
}


def bare(root: Path) -> None:
    """`disk-image-create` as a person types it for the same product: a compressed qcow2 with checksums, of the same elements and cache."""
    image = parse_diskimages([SECTION])["debian"]
    (root / "bare-tmp").mkdir(exist_ok=True)
    places = Places(str(root / "bare"), str(root / "bare-tmp"), str(root / "state/images/cache"), [str(ELEMENTS)])
    command = disk_image_create(image, ["raw"], places, {})
    options = ("--checksum", "--qemu-img-options", image.qcow2_options)
    arguments = ["disk-image-create", *options, "-t", "qcow2", "-o", str(root / "bare"), *image.elements]
    (root / "state/images/cache/locks").mkdir(parents=True, exist_ok=True)
    subprocess.run(arguments, env=build_environment(command), check=True, capture_output=True)
    for left in root.glob("bare.*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


async def by_the_flow(config: Path) -> None:
    this = await Runtime.open(parse_settings(config.read_text(), config))
    set_runtime(this)
    try:
        state = await build_image("debian", return_state=True)
        assert state.is_completed(), state.message
    finally:
        set_runtime(None)
        await this.close()


def build() -> None:
    """The whole flow: log, progress, conversion, digests, manifest, artifacts. Prefect's server is another process and not counted."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as name, prefect_test_harness(server_startup_timeout=180):
        root = Path(name)
        root.chmod(0o711)  # a PostgreSQL that root starts runs as another user
        database = EmbeddedPostgres(root / "postgres")
        database.start()
        try:
            asyncio.run(_prepare(database))
            settings = {
                "state-dir": "state", "tenants": "main.yaml", "database": database.url("headgate"),
                "connections": [{"name": "code", "driver": "git", "path": "code"}], "providers": [], "diskimages": [SECTION],
            }  # fmt: skip
            (root / "code").mkdir()
            (root / "main.yaml").write_text("[]\n")
            (root / "headgate.yaml").write_text(json.dumps(settings))
            bare(root)  # fills the caches of packages
            rounds = [(measured(lambda: bare(root)), measured(lambda: asyncio.run(by_the_flow(root / "headgate.yaml")))) for _ in range(2)]
            results = {"disk-image-create alone": [each[0] for each in rounds], "Headgate's flow": [each[1] for each in rounds]}
            results["mmdebstrap + mke2fs"] = [measured(lambda: limit(root))]
        finally:
            database.stop()
        best = {who: (min(wall for wall, _ in measures), min(cpu for _, cpu in measures)) for who, measures in results.items()}
        alone = best["disk-image-create alone"]
        print(f"load {os.getloadavg()[0]:.1f}; the better of {len(rounds)} rounds each")
        for who, (wall, cpu) in best.items():
            print(f"{who}: {wall:.1f} s wall, {cpu:.1f} CPU s ({wall / alone[0]:.2f} and {cpu / alone[1]:.2f} times disk-image-create)")


async def _prepare(server: EmbeddedPostgres) -> None:
    await server.create_databases()
    engine = open_engine(server.url("headgate"))
    await migrate(engine)
    await engine.dispose()


def limit(root: Path) -> None:
    """A comparable tree without diskimage-builder: the physical limit."""
    packages = "systemd-sysv,linux-image-cloud-amd64,openssh-server,sudo,python3,git,rsync,iproute2,ca-certificates,initramfs-tools,busybox"
    mirror = os.environ.get("DIB_DISTRIBUTION_MIRROR", "http://deb.debian.org/debian")
    tree = root / "tree"
    subprocess.run(["mmdebstrap", "--variant=apt", f"--include={packages}", "bookworm", str(tree), mirror], check=True, capture_output=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(root / "limit.raw"), "3G"], check=True)


if __name__ == "__main__":
    asked = sys.argv[1:] or ["cache", "build"]
    for each in asked:
        {"cache": cache, "build": build}[each]()
