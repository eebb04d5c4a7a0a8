# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installed SyncSDE claims and brings."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"syncsde_client", "syncsde_engine", "syncsde_server"}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools leaves a build folder behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "demo", "runs"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "-w", str(folder), str(source)],
        check=True,
        timeout=300,
    )
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_claims_only_our_own_names(names):
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_brings_every_module_the_model_and_the_library(names):
    folders = {"blender_addon/client": "syncsde_client", "server": "syncsde_server"}
    for source in ("blender_addon/client", "server", "syncsde_engine"):
        for path in (ROOT / source).rglob("*.py"):
            inside = path.relative_to(ROOT / source).as_posix()
            assert f"{folders.get(source, source)}/{inside}" in names
    for folder in ("models/mini", "models/mime", "library", "cli/batch"):
        for path in (ROOT / "syncsde_engine" / folder).rglob("*.*"):
            if path.is_file() and path.suffix != ".pyc":
                assert path.relative_to(ROOT).as_posix() in names
