# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender installs the extension from the static repository that `make repository` builds."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_blender_installs_from_the_repository(installed, zip_path, tmp_path):
    bpy = installed
    source = ROOT / "tools" / "build_repository.py"
    spec = importlib.util.spec_from_file_location("build_repository", source)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    index = tool.build(zip_path, tmp_path / "repository")
    (entry,) = json.loads(index.read_text())["data"]
    bpy.context.preferences.system.use_online_access = True
    repositories = bpy.context.preferences.extensions.repos
    repo = repositories.new(name="Studio", module="studio", remote_url=index.as_uri())
    try:
        repo.enabled = True
        number = list(repositories).index(repo)
        assert bpy.ops.extensions.repo_sync(repo_index=number) == {"FINISHED"}
        done = bpy.ops.extensions.package_install(
            repo_index=number, pkg_id=entry["id"], enable_on_install=False
        )
        assert done == {"FINISHED"}
        manifest = Path(repo.directory) / entry["id"] / "blender_manifest.toml"
        assert f'version = "{entry["version"]}"' in manifest.read_text()
    finally:
        repositories.remove(repo)
