# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom, checked in fresh interpreters and in the source."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HTTP = {"fastapi", "starlette", "uvicorn", "http"}
MODELS = {"torch", "diffusers", "transformers"}
NEVER = {  # folder: top-level modules that nothing below it imports
    "blender_addon": {
        *MODELS,
        "syncsde_client",
        "syncsde_engine",
        "syncsde_server",
        "threading",
        "requests",
    },
    "syncsde_engine": {"bpy", "blender_addon", "syncsde_client", "syncsde_server", *HTTP},
    "server": {"bpy", "blender_addon", *MODELS},
}
# What the server takes from outside: the wire, and of the engine what is light; tasks bring torch.
SERVER_TAKES = {
    "syncsde_client.protocol",
    "syncsde_engine.__version__",
    "syncsde_engine.config",
    "syncsde_engine.errors",
    "syncsde_engine.explain",
    "syncsde_engine.plugins",
    "syncsde_engine.request",
}
WORKER_TAKES = SERVER_TAKES | {"syncsde_engine.tasks"}
WORKER = ("work/worker.py", "work/attempt.py", "work/checkpoint.py")
COMMANDS_TAKE = SERVER_TAKES | {
    "syncsde_client.client",
    "syncsde_engine.cli",
    "syncsde_engine.output",
}
COMMANDS = ("commands/jobs.py", "commands/doctor.py", "launch/options.py")
# From the bottom up: a module or room imports only those before it, and what is in it.
ORDER = {
    "syncsde_engine/method": [
        "schedule",
        "sparse",
        "coupling",
        "canvas",
        "transforms",
        "noise",
        "strategies",
        "sampler",
        "inversion",
        "regions",
    ],
    "syncsde_engine/mesh": ["mesh", "raster", "files", "intake", "views", "bake"],
    "server": ["errors", "models", "store", "work", "launch", "http", "commands"],
    "blender_addon": ["client", "scene", "library", "properties", "jobs", "ui"],
}
METHOD_TAKES = {"errors", "config"}  # of the engine outside its folder


def imports(path: Path) -> set[str]:
    """Top-level names of absolute imports anywhere in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def taken(path: Path, packages: set[str]) -> set[str]:
    """What a file imports from `packages`, as package.name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:2]) for name in found if name.split(".")[0] in packages}


def inside(path: Path) -> set[str]:
    """What a file imports by relative imports, as dotted names from the repository's root."""
    found = set()
    here = path.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: -node.level], *(node.module.split(".") if node.module else [])]
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


@pytest.mark.parametrize("folder", NEVER)
def test_no_forbidden_import(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & NEVER[folder], path


@pytest.mark.parametrize("folder", NEVER)
def test_ruff_bans_the_same_imports_and_says_why(folder):
    settings = tomllib.loads((ROOT / folder / "ruff.toml").read_text(encoding="utf-8"))
    assert settings["extend"] == "../pyproject.toml"
    bans = settings["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(bans) == NEVER[folder]
    assert all(ban["msg"].endswith(".") for ban in bans.values())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "server").rglob("*.py")), ids=lambda path: path.name
)
def test_server_takes_little_from_outside(path):
    allowed = SERVER_TAKES
    name = path.relative_to(ROOT / "server").as_posix()
    if name in WORKER:
        allowed = WORKER_TAKES
    elif name in COMMANDS:
        allowed = COMMANDS_TAKE
    assert taken(path, {"syncsde_client", "syncsde_engine", "syncsde_server"}) <= allowed


@pytest.mark.parametrize(
    ("folder", "name"), [(folder, name) for folder, names in ORDER.items() for name in names]
)
def test_rooms_import_downwards_only(folder, name):
    place = ROOT / folder / name
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    start = folder.replace("/", ".") + "."
    allowed = {*ORDER[folder][: ORDER[folder].index(name)], name}
    for path in files:
        taken = {found.removeprefix(start) for found in inside(path) if found.startswith(start)}
        rooms = {found.split(".")[0] for found in taken} & set(ORDER[folder])  # or plain names
        assert rooms <= allowed, path


@pytest.mark.parametrize("folder", ORDER)
def test_every_module_has_its_place_in_the_order(folder):
    found = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py"}
    found |= {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    assert found - {"__init__", "__main__"} == set(ORDER[folder])


def test_the_method_takes_nothing_else_of_the_engine():
    for path in (ROOT / "syncsde_engine" / "method").glob("*.py"):
        outside = {
            name.split(".")[1] for name in inside(path) if name.startswith("syncsde_engine.")
        }
        assert outside - {"method"} <= METHOD_TAKES, path


@pytest.mark.parametrize("folder", ["models", "mesh"])
def test_models_and_meshes_are_imported_by_tasks_only(folder):
    engine = ROOT / "syncsde_engine"
    for path in engine.rglob("*.py"):
        place = path.relative_to(engine).parts[0]
        if place not in (folder, "tasks", "cli", "inputs.py"):
            start = f"syncsde_engine.{folder}"
            assert not any(name.startswith(f"{start}.") or name == start for name in inside(path))


def test_motion_is_numpy_and_nothing_else():
    folder = ROOT / "syncsde_engine" / "motion"
    allowed = {"numpy", "__future__", *sys.stdlib_module_names}
    for path in folder.glob("*.py"):
        assert imports(path) <= allowed, path
        assert all(name.startswith("syncsde_engine.motion.") for name in inside(path)), path


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("syncsde_server.__main__", "torch"),
        ("syncsde_engine.request", "torch"),
        ("syncsde_engine.tasks", "torch"),
        ("syncsde_engine.cli", "torch"),
        ("syncsde_engine.library", "torch"),
        ("syncsde_engine.motion.glb", "torch"),
        ("syncsde_client.protocol", "bpy"),
        ("syncsde_client", "numpy"),
    ],
)
def test_importing_stays_light(module, absent):
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_every_python_file_names_its_licence():
    for folder in (
        "benchmarks",
        "blender_addon",
        "examples",
        "server",
        "syncsde_engine",
        "tests",
        "tools",
        "training",
    ):
        for path in (ROOT / folder).rglob("*.py"):
            first = path.read_text(encoding="utf-8").split("\n", 1)[0]
            assert first == "# SPDX-License-Identifier: GPL-3.0-or-later", path
