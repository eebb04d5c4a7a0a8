# SPDX-License-Identifier: GPL-3.0-or-later
"""Set up and run the project: `python tools/dev.py TARGET`, the targets of the Makefile.

Everything lies in `.venv` of the clone: the engine with its developer tools, and below it one
environment for each Blender (`bpy` wheel). What is already installed is not installed again.
Standard library only; works on Linux, macOS and Windows.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
BLENDERS = {(3, 11): ("5.0", "4.2"), (3, 13): ("5.2",)}  # the first one runs the demo
RENDER_TIMEOUT = 1800  # seconds
QUICK = (  # tests without Blender, training and long runs: under two minutes on two idle cores
    "test_docs.py",
    "test_imports.py",
    "addon/test_extension.py",
    "addon/test_parameters.py",
    "engine/test_coupling.py",
    "engine/test_inversion.py",
    "engine/test_library.py",
    "engine/test_pictures.py",
    "engine/test_regions.py",
    "engine/test_sampler.py",
    "engine/test_schedule.py",
    "engine/test_strategies.py",
    "mesh/test_cameras.py",
    "mesh/test_fill.py",
    "mesh/test_intake.py",
    "mesh/test_io.py",
    "mesh/test_mesh.py",
    "mesh/test_nearest.py",
    "mesh/test_obj.py",
    "mesh/test_gltf_back.py",
    "mesh/test_obj_back.py",
    "mesh/test_views.py",
    "mesh/test_rasterize.py",
    "mesh/test_seams.py",
    "server/test_blobs.py",
    "server/test_checkpoint.py",
    "server/test_uploads.py",
    "server/test_guard.py",
    "server/test_jobs.py",
    "server/test_protocol.py",
    "server/test_schema.py",
)


def main(arguments: Sequence[str]) -> int:
    commands = {
        "setup": setup,
        "demo": demo,
        "test": test,
        "quick": quick,
        "coverage": coverage,
        "check": check,
        "docs": docs,
        "extension": release,
        "repository": repository,
    }
    if not arguments or arguments[0] not in commands:
        print(f"usage: python tools/dev.py {'|'.join(commands)}", file=sys.stderr)
        return 2
    if sys.version_info[:2] not in BLENDERS:
        found = ".".join(str(part) for part in sys.version_info[:3])
        print(
            f"SyncSDE needs Python 3.11 or 3.13, the versions that Blender's bpy package is "
            f"made for; this is {found}.",
            file=sys.stderr,
        )
        return 1
    try:
        commands[arguments[0]](arguments[1:])
    except subprocess.CalledProcessError as error:
        return error.returncode
    except subprocess.TimeoutExpired as error:
        print(f"{error.cmd[0]} did not finish in {error.timeout:.0f} s.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def setup(_: Sequence[str] = ()) -> None:
    """Install the engine and every Blender of this Python."""
    engine()
    for version in BLENDERS[sys.version_info[:2]]:
        blender(version)


def demo(arguments: Sequence[str]) -> None:
    """Texture Suzanne in Blender and render it."""
    syncsde = engine()
    bpy = blender(BLENDERS[sys.version_info[:2]][0])
    package = extension()
    started = time.perf_counter()
    script = ROOT / "tools" / "demo_scene.py"
    options = ["--zip", package, "--engine", syncsde, "--output", ROOT / "demo"]
    call(bpy, script, *options, *arguments, timeout=RENDER_TIMEOUT)
    print(f"demo: {time.perf_counter() - started:.0f} s in all")


def test(arguments: Sequence[str]) -> None:
    """Check the code, then run every test, those inside Blender included."""
    check()
    syncsde = engine()
    blenders = [blender(version) for version in BLENDERS[sys.version_info[:2]]]
    where = {
        "SYNCSDE_BPY": os.pathsep.join(str(python) for python in blenders),
        "SYNCSDE_ENGINE": str(syncsde),
    }
    call(tool("python"), "-m", "pytest", *arguments, environment=where)


def quick(arguments: Sequence[str]) -> None:
    """The fast tier: lint, and the tests that say most for their time."""
    engine()
    call(tool("ruff"), "check", ".")
    call(tool("ruff"), "format", "--check", ".")
    call(tool("python"), "-m", "pytest", *(f"tests/{name}" for name in QUICK), *arguments)


def coverage(arguments: Sequence[str]) -> None:
    """Every test as in `test`, and which lines ran; slower than the tests alone."""
    test(["--cov", "--cov-report=term:skip-covered", *arguments])


def check(_: Sequence[str] = ()) -> None:
    """Lint, format, types, import rules and the site."""
    engine()
    call(tool("ruff"), "check", ".")
    call(tool("ruff"), "format", "--check", ".")
    names = ENVIRONMENT / "names"  # packages that the sources have under another name, for types
    shutil.rmtree(names, ignore_errors=True)
    shutil.copytree(ROOT / "blender_addon" / "client", names / "syncsde_client")
    call(tool("basedpyright"), "--pythonpath", tool("python"))
    call(tool("python"), "-m", "pytest", "-q", "tests/test_imports.py")
    docs()


def docs(_: Sequence[str] = ()) -> None:
    """Build the site into build/site; whatever mkdocs warns of is an error."""
    engine()
    # The theme's news of its successor is no warning about our pages.
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    call(tool("python"), "-m", "mkdocs", "build", "--strict", "--quiet", environment=quiet)
    print(f"site: {(ROOT / 'build' / 'site' / 'index.html')}")


def release(_: Sequence[str] = ()) -> Path:
    """Build the extension's zip with the engine's wheel in it and return its path."""
    engine()
    built = ROOT / "build" / "wheel"
    for stale in (ROOT / "build" / "lib", built):  # setuptools packs what it once copied
        shutil.rmtree(stale, ignore_errors=True)
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q")
    call(tool("python"), "-m", "pip", "wheel", *options, "-w", built, ROOT)
    (wheel,) = built.glob("*.whl")
    return extension(["--wheel", wheel])


def repository(_: Sequence[str] = ()) -> None:
    """Make a folder that Blender takes as a repository of extensions."""
    call(sys.executable, ROOT / "tools" / "build_repository.py", release())


def extension(options: Sequence[object] = ()) -> Path:
    """Build the extension's zip and return its path."""
    call(sys.executable, ROOT / "tools" / "build_extension.py", *options)
    return max((ROOT / "dist").glob("syncsde-*.zip"), key=lambda path: path.stat().st_mtime)


def engine() -> Path:
    """Install the engine with its developer tools; return its `syncsde` program."""
    lock, project = REQUIREMENTS / "engine.lock", ROOT / "pyproject.toml"
    install(
        ENVIRONMENT,
        ["-r", lock],
        [lock],
        ["--no-deps", "--no-build-isolation", "-e", ROOT],
        [project],
    )
    return tool("syncsde")


def blender(version: str) -> Path:
    """Install one Blender as a package; return its Python."""
    folder, lock = ENVIRONMENT / f"blender-{version}", REQUIREMENTS / f"blender-{version}.lock"
    install(folder, ["-r", lock], [lock])
    return folder / SCRIPTS / executable("python")


def install(folder: Path, *steps: Sequence[object]) -> None:
    """Create an environment and run pip for (arguments, files they depend on) pairs, once each.

    A step runs again when its files or those of an earlier step have changed.
    """
    python = folder / SCRIPTS / executable("python")
    if not (folder / ".installed-0").exists():  # also if it was interrupted
        print(f"creating {folder.relative_to(ROOT)}", flush=True)
        call(sys.executable, "-m", "venv", folder)
    seen = hashlib.sha256()
    for number, (arguments, files) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        for file in files:
            seen.update(Path(str(file)).read_bytes())
        stamp = folder / f".installed-{number}"
        if stamp.exists() and stamp.read_text() == seen.hexdigest():
            continue
        print(f"installing into {folder.relative_to(ROOT)}", flush=True)
        call(python, "-m", "pip", "install", "--disable-pip-version-check", "-q", *arguments)
        stamp.write_text(seen.hexdigest())


def tool(name: str) -> Path:
    return ENVIRONMENT / SCRIPTS / executable(name)


def executable(name: str) -> str:
    return f"{name}.exe" if os.name == "nt" else name


def call(
    program: object,
    *arguments: object,
    timeout: float | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    command = [str(program), *(str(argument) for argument in arguments)]
    subprocess.run(
        command, cwd=ROOT, check=True, timeout=timeout, env={**os.environ, **(environment or {})}
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
