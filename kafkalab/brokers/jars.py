"""Apache Kafka's jars: resolved and fetched once through jgo, then kept in a cache folder."""

import fcntl
import hashlib
import os
import shutil
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from kafkalab.errors import BrokerStartError

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

KAFKA_VERSION = "4.3.1"
_LOG4J_VERSION = "2.25.3"

# Each is pinned: mediation alone would put an older kafka-clients beside this server.
_KAFKA_ARTIFACTS = (
    "kafka_2.13",
    "kafka-clients",
    "kafka-coordinator-common",
    "kafka-group-coordinator",
    "kafka-group-coordinator-api",
    "kafka-metadata",
    "kafka-raft",
    "kafka-server",
    "kafka-server-common",
    "kafka-share-coordinator",
    "kafka-storage",
    "kafka-storage-api",
    "kafka-tools",
    "kafka-tools-api",
    "kafka-transaction-coordinator",
)
COORDINATES = (
    *(f"org.apache.kafka:{artifact}:jar:{KAFKA_VERSION}:compile" for artifact in _KAFKA_ARTIFACTS),
    f"org.apache.logging.log4j:log4j-slf4j-impl:jar:{_LOG4J_VERSION}:compile",
)

_CONNECTIONS = 8


def jar_folder() -> Path:
    """Find the folder of Kafka's jars, and fetch them into it when it is not there.

    Returns
    -------
    Path
        A folder that holds every jar of the class path. It is keyed by the coordinates, and appears in one step, so
        that it is complete whenever it is there.

    Raises
    ------
    BrokerStartError
        If the jars are not here and cannot be fetched.
    """
    key = hashlib.sha256("\n".join(COORDINATES).encode()).hexdigest()[:16]
    folder = _cache() / f"kafka-{KAFKA_VERSION}-{key}"
    if not folder.is_dir():
        _fetch_into(folder)
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kafkalab")


def _fetch_into(folder: Path) -> None:
    try:
        import jgo  # noqa: F401 - its absence is to be told before anything is fetched
    except ImportError as error:
        raise BrokerStartError(
            'Apache Kafka is fetched with the package jgo, which is not installed: pip install "kafkalab[broker]"'
        ) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "fetch.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():  # another process may have fetched them while this one waited
                _fetch_whole(folder)
    except (OSError, RuntimeError, ValueError, SyntaxError) as error:  # a broken POM is a SyntaxError
        reason = str(error).partition("\n")[0]
        raise BrokerStartError(
            f"the jars of Apache Kafka {KAFKA_VERSION} could not be fetched from the Maven repository"
            f" ({reason}): see that this machine reaches it, then start again"
        ) from error


def _fetch_whole(folder: Path) -> None:
    staging = folder.parent / "fetching"
    # What a killed process left may be cut anywhere.
    shutil.rmtree(staging, ignore_errors=True)
    complete = staging / "jars"
    complete.mkdir(parents=True)
    try:
        for jar in _fetch(staging / "repository"):
            jar.rename(complete / jar.name)
        complete.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(repository: Path) -> list[Path]:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver
    from tqdm import tqdm

    with tqdm(desc=f"fetching Apache Kafka {KAFKA_VERSION} (60 MB, once)", unit=" files") as progress:

        class Resolver(PythonResolver):
            def download(self, artifact: "Artifact") -> Path | None:
                downloaded = super().download(artifact)
                progress.update()
                return downloaded

        repositories = {"central": _mirror() or MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
        artifacts = _resolve(MavenContext(Resolver(), repository, remote_repos=repositories))
        progress.total = progress.n + len(artifacts)
        with ThreadPoolExecutor(_CONNECTIONS) as executor:
            return list(executor.map(_fetch_jar, artifacts))


def _resolve(context: "MavenContext") -> list["Artifact"]:
    dependencies = [context.create_dependency(coordinate) for coordinate in COORDINATES]
    named, transitive = context.resolver.resolve(dependencies)
    used = [*named, *(dependency for dependency in transitive if dependency.scope in {"compile", "runtime"})]
    return [dependency.artifact for dependency in used]


def _fetch_jar(artifact: "Artifact") -> Path:
    jar = artifact.resolve()
    if hashlib.sha256(jar.read_bytes()).hexdigest() != checksums().get(jar.name):
        raise OSError(f"{jar.name} arrived damaged, or is not the one that kafkalab was tested with")
    return jar


def checksums() -> dict[str, str]:
    """Return the SHA-256 of each jar of the class path, those of dependencies too: no repository has to be trusted."""
    lines = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256").read_text("ascii").splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


def _mirror() -> str | None:
    """Find the mirror of Maven Central that the user's Maven settings name."""
    settings = Path.home() / ".m2" / "settings.xml"
    if not settings.is_file():
        return None
    for mirror in ET.parse(settings).iterfind(".//{*}mirror"):  # noqa: S314 - the user's own file
        if mirror.findtext("{*}mirrorOf") in {"central", "*", "external:*"}:
            return mirror.findtext("{*}url")
    return None
