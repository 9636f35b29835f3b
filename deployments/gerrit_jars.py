"""The jars of a Gerrit server, from Maven Central.

Google publishes no WAR there, but two libraries that together hold the whole server but for the pages: the acceptance
framework (its programs, Jetty, H2) and the plugin API (the server, sshd, Lucene, JGit). Bouncy Castle must be added.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from headgate.problems import Problem

GERRIT, BOUNCY_CASTLE = "3.9.1", "1.72"
CENTRAL = "https://repo1.maven.org/maven2"


@dataclass(frozen=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def url(self) -> str:
        return f"{CENTRAL}/{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file}"


JARS = (
    Jar("com.google.gerrit", "gerrit-acceptance-framework", GERRIT, "28d6d73a50af086b952b3b6ef9ba9ded45c7c895ce8273f8b6b6c3545f2563f2"),
    Jar("com.google.gerrit", "gerrit-plugin-api", GERRIT, "61b4f368fb2a33494a6afb949d427a1f3e81c2de84cce00ae67aa16ba7d6c7e5"),
    Jar("org.bouncycastle", "bcprov-jdk18on", BOUNCY_CASTLE, "39287f2208a753db419f5ca529d6c80f094614aa74d790331126b3c9c6b85fda"),
    Jar("org.bouncycastle", "bcpkix-jdk18on", BOUNCY_CASTLE, "56a054cb170d41fb1f8ba0b29568806258b7ffefdc5e98b77ef96d4740f3d6bc"),
    Jar("org.bouncycastle", "bcpg-jdk18on", BOUNCY_CASTLE, "dd3d45a4063103acac7403e447e36b2d21e4e31e326cc54314ca7bc128861514"),
    Jar("org.bouncycastle", "bcutil-jdk18on", BOUNCY_CASTLE, "45377fdb6560a971eea725f507d91fd6b8fbd0797d61bfc86f2cb653c58186a4"),
)


def fetch_jars(directory: Path, say: Callable[[str], None]) -> None:
    """Has all jars in `directory`, each with the right checksum: by Maven where there is one (it knows this place's mirrors
    and proxies), else straight from Maven Central. Raises `Problem`."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in JARS if not (directory / jar.file).is_file()]
    if not missing:
        return
    say(f"downloading Gerrit {GERRIT} (60 MB)")
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        if shutil.which("mvn"):
            _by_maven(missing, Path(scratch))
        else:
            _by_https(missing, Path(scratch))
        for jar in missing:
            found = hashlib.sha256((Path(scratch) / jar.file).read_bytes()).hexdigest()
            if found != jar.sha256:
                raise Problem(f"{jar.file} as downloaded has the checksum {found} instead of {jar.sha256}: it is not what was published.")
            (Path(scratch) / jar.file).rename(directory / jar.file)


def _by_maven(jars: list[Jar], directory: Path) -> None:
    wanted = "".join(
        f"<dependency><groupId>{jar.group}</groupId><artifactId>{jar.artifact}</artifactId><version>{jar.version}</version>"
        "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>"
        for jar in jars
    )
    (directory / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>headgate</groupId><artifactId>gerrit</artifactId><version>1</version>"
        f"<dependencies>{wanted}</dependencies></project>"
    )
    command = ["mvn", "-q", "-B", "-f", str(directory / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={directory}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        raise Problem(f"Maven could not download Gerrit: {(errors or [done.stderr])[0].removeprefix('[ERROR]').strip()}")


def _by_https(jars: list[Jar], directory: Path) -> None:
    for jar in jars:
        try:
            with httpx.stream("GET", jar.url, timeout=60, follow_redirects=True) as answer, (directory / jar.file).open("wb") as file:
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        except httpx.HTTPError as problem:
            raise Problem(f"{jar.url} could not be downloaded: {problem or type(problem).__name__}") from problem
