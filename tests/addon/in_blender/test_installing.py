# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the engine from Blender: a real environment and pip, a small wheel, no network."""

import os
import subprocess
import zipfile

import pytest

METADATA = "Metadata-Version: 2.1\nName: syncsde\nVersion: {}\n"
MODULE = """
def main():
    print("syncsde {}")
    return {}
"""


def make_wheel(folder, version="0.1.0", fails=0, needs=""):
    """A wheel called as the engine's, whose program says its version."""
    info = f"syncsde-{version}.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    path = folder / f"syncsde-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("syncsde_small.py", MODULE.format(version, fails))
        wheel.writestr(f"{info}/METADATA", METADATA.format(version) + needed)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(
            f"{info}/entry_points.txt", "[console_scripts]\nsyncsde = syncsde_small:main\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def offline(addon, monkeypatch, no_engine, tmp_path):
    """Packages are on this computer, and there is no engine but what is installed."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PATH", os.defpath)
    yield addon
    addon.installing.cancel()
    addon.engine.complete_mark().unlink(missing_ok=True)  # the environment is for the next test


def test_the_engine_is_installed_found_and_removed(bpy, offline, tmp_path):
    wheel = make_wheel(tmp_path)
    assert not bpy.ops.syncsde.remove_engine.poll()
    with pytest.raises(offline.engine.NotInstalled, match="click Install Engine"):
        offline.preferences.find_engine_program()
    assert bpy.ops.syncsde.install_engine(wheel=str(wheel)) == {"FINISHED"}
    program = offline.preferences.find_engine_program()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "syncsde 0.1.0"
    assert bpy.ops.syncsde.remove_engine() == {"FINISHED"}
    assert not offline.engine.environment_dir().exists()
    with pytest.raises(offline.engine.NotInstalled):
        offline.preferences.find_engine_program()


def test_a_chosen_engine_goes_before_the_installed_one(bpy, offline, tmp_path, monkeypatch):
    bpy.ops.syncsde.install_engine(wheel=str(make_wheel(tmp_path)))
    own = tmp_path / "syncsde"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("SYNCSDE_ENGINE", str(own))
    assert offline.preferences.find_engine_program() == str(own)


def test_installing_again_replaces_what_is_there(bpy, offline, tmp_path):
    bpy.ops.syncsde.install_engine(wheel=str(make_wheel(tmp_path)))
    broken = offline.engine.in_environment("syncsde")
    broken.write_text("#!/bin/sh\nexit 1\n")
    bpy.ops.syncsde.install_engine(wheel=str(make_wheel(tmp_path, "0.2.0")))
    said = subprocess.run([broken, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "syncsde 0.2.0"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"needs": "no-such-package==1"}, "No matching distribution found for no-such-package"),
        ({"fails": 3}, "Trying the Engine failed: syncsde 0.1.0"),
    ],
)
def test_what_fails_is_one_sentence_and_no_engine(bpy, offline, tmp_path, options, told):
    wheel = make_wheel(tmp_path, **options)
    with pytest.raises(RuntimeError, match=told):
        bpy.ops.syncsde.install_engine(wheel=str(wheel))
    assert str(offline.installation.log_path()) in offline.installing.last_error
    assert not offline.engine.is_installed()
    bpy.ops.syncsde.install_engine(wheel=str(make_wheel(tmp_path)))  # goes on with what is there
    assert offline.engine.is_installed()


def test_it_can_be_cancelled_and_gone_on_with(bpy, offline, tmp_path):
    plan = offline.installation.Plan(make_wheel(tmp_path), None, "cpu")
    going = offline.installing.current = offline.installation.Installation(plan)
    assert going.pump()
    assert not bpy.ops.syncsde.install_engine.poll()
    process = going._process
    bpy.ops.syncsde.cancel_install()
    assert process.poll() is not None
    assert offline.installing.current is None
    assert not offline.engine.is_installed()
    bpy.ops.syncsde.install_engine(wheel=str(plan.wheel))
    assert offline.engine.is_installed()


def test_without_a_wheel_or_the_network_it_says_so(bpy, offline, monkeypatch):
    with pytest.raises(RuntimeError, match="no wheel of the engine"):
        bpy.ops.syncsde.install_engine(wheel="/nowhere/syncsde.whl")
    monkeypatch.delenv("PIP_NO_INDEX")
    if bpy.app.online_access:
        pytest.skip("this Blender may use the network")
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.syncsde.install_engine()


def test_a_full_disk_is_refused_before_anything_is_fetched(bpy, offline, monkeypatch, tmp_path):
    monkeypatch.delenv("PIP_NO_INDEX")
    usage = offline.installation.shutil.disk_usage(tmp_path)._replace(free=2**30)
    monkeypatch.setattr(offline.installation.shutil, "disk_usage", lambda path: usage)
    plan = offline.installation.Plan(make_wheel(tmp_path), None, "cuda")
    with pytest.raises(offline.installation.CannotInstall, match=r"needs 9 GB .* 1\.0 GB are free"):
        offline.installation.Installation(plan)


@pytest.mark.parametrize(
    ("system", "build", "index"),
    [
        ("linux", "cpu", "/cpu"),
        ("linux", "cuda", ""),
        ("win32", "cpu", ""),
        ("win32", "cuda", "/cu130"),
        ("darwin", "cpu", ""),
    ],
)
def test_torch_comes_from_where_its_build_is(offline, monkeypatch, tmp_path, system, build, index):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setattr(offline.installation.sys, "platform", system)
    plan = offline.installation.Plan(tmp_path, None, build)
    assert plan.index.endswith(index)
    assert bool(plan.index) == bool(index)
