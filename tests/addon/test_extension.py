# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's zip and sources, looked at without Blender."""

import ast
import importlib
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ADDON = ROOT / "blender_addon"
SOURCES = sorted(ADDON.rglob("*.py"))
LIBRARY = ROOT / "syncsde_engine" / "library"
LIST = json.loads((LIBRARY / "library.json").read_text(encoding="utf-8"))
SHARED = ("match", "colors", "listing", "map_names", "recolor")  # the zip has them, too
MOTION = ROOT / "syncsde_engine" / "motion"
FIGURE = ("__init__", "limbs", "mannequin", "retarget", "rotations", "skeleton")
WITHOUT_BLENDER = ("syncsde_client.engine", "syncsde_client.tensors", "blender_addon.jobs.job")


def build(output: Path) -> Path:
    command = [sys.executable, ROOT / "tools" / "build_extension.py", "--output", output]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=output.parent)
    return Path(printed.stdout.strip())


def test_two_builds_are_the_same_bytes(tmp_path):
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_zip_holds_manifest_licence_and_every_module(tmp_path):
    with zipfile.ZipFile(build(tmp_path / "out")) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    known = {
        "mini.json",
        "thumbnails/README.md",
        "library.json",
        *(f"{each}.py" for each in SHARED),
    }
    known |= {f"thumbnails/{Path(entry['file']).name}" for entry in LIST}
    known = {f"library/{name}" for name in known} | {"blender_manifest.toml", "LICENSE"}
    known |= {f"motion/{name}.py" for name in FIGURE}
    assert names == known | {source.relative_to(ADDON).as_posix() for source in SOURCES}


def test_zip_credits_every_thumbnail_and_has_the_texts_of_licences(tmp_path):
    with zipfile.ZipFile(build(tmp_path / "out")) as archive:
        credits = archive.read("library/thumbnails/README.md").decode()
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
        assert b"GNU GENERAL PUBLIC LICENSE" in archive.read("LICENSE")
    rows = {row.split("|")[1].strip(): row for row in credits.splitlines() if row[:3] == "| `"}
    for entry in LIST:
        row = rows[f"`{Path(entry['file']).name}`"]
        assert entry["author"] in row
        assert f"| {entry['license']} |" in row
        assert (
            entry["license"] == "public domain" or f"SPDX:{entry['license']}" in manifest["license"]
        )
    assert "Permission is hereby granted, free of charge" in credits
    assert "https://creativecommons.org/licenses/by/3.0/" in credits
    assert "https://creativecommons.org/publicdomain/zero/1.0/" in credits
    assert "Changes to all of them" in credits, "as CC-BY wants it said"


def test_thumbnails_are_the_librarys_pictures_and_small():
    thumbnails = {path.name: path for path in (ADDON / "library" / "thumbnails").glob("*.webp")}
    assert sorted(thumbnails) == sorted(Path(entry["file"]).name for entry in LIST)
    assert sum(path.stat().st_size for path in thumbnails.values()) < 400_000
    for entry in LIST:
        picture = LIBRARY / entry["file"]
        small, large = (Image.open(path) for path in (thumbnails[picture.name], picture))
        assert small.size == (128, 128)
        difference = np.subtract(
            *(np.float32(i.resize((16, 16)).convert("RGB")) for i in (small, large))
        )
        assert np.abs(difference).mean() < 4, "run tools/make_thumbnails.py"


def test_modules_of_the_engine_that_the_zip_has_need_nothing_else():
    for name in SHARED:
        for node in ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= sys.stdlib_module_names
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in SHARED
    for name in FIGURE:
        for node in ast.parse((MOTION / f"{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in FIGURE


def test_manifest_follows_the_platform_rules():
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest["id"] == "syncsde"
    assert manifest["version"] == project["version"]
    assert manifest["license"][0] == "SPDX:GPL-3.0-or-later"
    pictures = {entry["license"] for entry in LIST} - {"public domain"}  # which is no license
    assert set(manifest["license"][1:]) == {f"SPDX:{each}" for each in pictures}
    assert len(set(manifest["license"])) == len(manifest["license"])
    assert manifest["blender_version_min"] == "4.2.0"
    assert "wheels" not in manifest
    assert set(manifest["permissions"]) == {"files", "network"}
    for sentence in (manifest["tagline"], *manifest["permissions"].values()):
        assert len(sentence) <= 64
        assert sentence[-1].isalnum()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(ADDON).as_posix())
def test_add_on_imports_only_blender_numpy_and_the_standard_library(source):
    allowed = (sys.stdlib_module_names - {"threading", "concurrent", "multiprocessing"}) | {
        "bpy",
        "mathutils",
        "numpy",
    }
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported = {(node.module or "").split(".")[0]}
        else:
            continue
        assert imported <= allowed


@pytest.mark.parametrize("module", WITHOUT_BLENDER)
def test_modules_of_the_wire_need_no_blender(module):
    code = f"import sys, {module}; sys.exit('bpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_engine_that_is_not_installed_is_named_in_one_sentence(monkeypatch, tmp_path):
    engine = importlib.import_module("syncsde_client.engine")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(engine.PROGRAM_VARIABLE, raising=False)
    with pytest.raises(engine.NotInstalled, match="engine is not installed: click"):
        engine.find_program("")
    with pytest.raises(engine.NotInstalled, match="no engine at /nowhere/syncsde: choose"):
        engine.find_program("/nowhere/syncsde")
    monkeypatch.setenv(engine.PROGRAM_VARIABLE, "/from/variable")
    with pytest.raises(engine.NotInstalled, match="no engine at /from/variable"):
        engine.find_program("")
