# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde doctor`: what is installed, what is missing, how to fix it. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from syncsde_client import protocol
from syncsde_client.client import LOG_FILE as OUTPUT_FILE
from syncsde_client.client import EngineError, find_engine
from syncsde_client.protocol import Connection
from syncsde_engine import __version__
from syncsde_engine.cli.flags import Parser
from syncsde_engine.errors import InvalidRequest

from ..launch.logs import LOG_FILE, OLD_FILES, redact
from ..models import Models

NEEDED = ("torch", "diffusers", "transformers", "safetensors", "numpy", "scipy", "pillow", "numba",
          "mapbox-earcut", "plyfile", "xatlas", "pydantic", "fastapi", "uvicorn")  # fmt: skip
OPTIONAL = {
    "nvdiffrast": "a faster rasterizer on CUDA; its licence is for non-commercial use only",
    "sentencepiece": "DeepFloyd IF: pip install 'syncsde[deepfloyd]'",
    "prometheus-client": "serve --metrics: pip install 'syncsde[metrics]'",
}
LEAST_FREE = 2 << 30  # bytes
TORCH_SECONDS = 120
TORCH = """
import json, torch
cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
mps = torch.backends.mps.is_available()
print(json.dumps({"cuda": cuda, "mps": mps, "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True)
class Finding:
    name: str
    state: str  # "ok", "note" or "wrong"
    found: str
    remedy: str = ""


def main(argv: Sequence[str]) -> int:
    """Find out what works here; 0 if nothing is wrong, else 3."""
    command = Parser(prog="syncsde doctor", description="Find out what works here.")
    command.add_argument("--state-dir", type=Path, default=None, metavar="DIR")
    command.add_argument("--json", action="store_true", default=False, help="as one JSON object")
    command.add_argument(
        "--zip",
        type=Path,
        default=None,
        metavar="FILE",
        help="also write findings and logs, without prompts, tokens and user names, to attach to a "
        "bug report",
    )
    options = command.parse_args(argv)
    folder: Path = options.state_dir or protocol.state_dir()
    findings = list(examine(folder))
    if options.json:
        print(json.dumps({"findings": [asdict(each) for each in findings]}))
    else:
        for each in findings:
            remedy = f"\n{'':8}{each.remedy}" if each.remedy and each.state != "ok" else ""
            print(f"{each.state:6}  {each.name}: {each.found}{remedy}")
    if options.zip is not None:
        try:
            write_zip(options.zip, folder, findings)
        except OSError as error:
            raise InvalidRequest(
                f"Cannot write {str(options.zip)!r:.200}: {error.strerror}.",
                hint="Name a file in a folder that is there.",
                field="zip",
            ) from None
        print(f"{options.zip}: please look through it before you send it.", file=sys.stderr)
    return 3 if any(each.state == "wrong" for each in findings) else 0


def examine(folder: Path) -> Iterator[Finding]:
    """Look at everything that the engine needs; whatever fails is a finding, too."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _machine,
        _packages,
        _devices,
        lambda: _models(folder),
        lambda: _state(folder),
        lambda: _engine(folder),
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = getattr(check, "__name__", "check").strip("_<>")
            yield Finding(name, "wrong", f"{type(error).__name__}: {error}")


def _machine() -> Iterator[Finding]:
    yield Finding("syncsde", "ok", __version__)
    fine = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if fine else "wrong", platform.python_version(), "Install 3.11 or later."
    )
    yield Finding("system", "ok", f"{platform.platform()}, {os.cpu_count()} cores")


def _packages() -> Iterator[Finding]:
    remedy = "pip install -r requirements/engine.lock, in the engine's environment."
    for name in NEEDED:
        version = _version(name)
        yield Finding(name, "ok" if version else "wrong", version or "not installed", remedy)
    for name, purpose in OPTIONAL.items():
        version = _version(name)
        yield Finding(name, "ok" if version else "note", version or "not installed", purpose)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _devices() -> Iterator[Finding]:
    """In a process of its own: importing torch may crash, and drivers may hang."""
    try:
        ran = subprocess.run(
            [sys.executable, "-P", "-c", TORCH],
            capture_output=True,
            text=True,
            timeout=TORCH_SECONDS,
            check=True,
        )
        found = json.loads(ran.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
        yield Finding(
            "torch works", "wrong", " ".join(said), "Install torch anew, as pytorch.org says."
        )
        return
    yield Finding("torch works", "ok", f"{found['threads']} threads")
    remedy = "Install torch's CUDA build and the driver, or stay with the CPU."
    if found["cuda"]:
        yield Finding("device", "ok", f"cuda: {', '.join(found['cuda'])}")
    elif found["mps"]:
        yield Finding("device", "ok", "mps")
    else:
        yield Finding("device", "note", "cpu only", remedy)


def _models(folder: Path) -> Iterator[Finding]:
    for name, path in Models([folder / "models"]).folders().items():
        files = [path] if path.is_file() else path.rglob("*.safetensors")
        weights = [file for file in files if file.stat().st_size > 1000]
        yield Finding(
            f"model {name}",
            "ok" if weights else "wrong",
            f"{sum(file.stat().st_size for file in weights) / 1e6:.0f} MB",
            "Its weights are missing: fetch them again (with git lfs, if it was cloned).",
        )


def _state(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        yield Finding("state folder", "note", f"{folder} does not exist yet", "serve makes it.")
        folder = next(parent for parent in folder.parents if parent.exists())
    else:
        try:
            protocol.make_private(folder)
            yield Finding("state folder", "ok", str(folder))
        except PermissionError as error:
            yield Finding("state folder", "wrong", str(error))
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= LEAST_FREE else "wrong"
    yield Finding("disk", state, f"{free / 1e9:.1f} GB free", "Free at least 2 GB.")


def _engine(folder: Path) -> Iterator[Finding]:
    try:
        connection, engine = Connection.read(folder), find_engine(folder, "doctor")
    except (PermissionError, EngineError) as error:
        yield Finding("engine", "wrong", str(error))
        return
    if connection is None:
        yield Finding("engine", "note", "not running", "syncsde serve --stay, or Blender starts it")
        return
    if engine is None:
        yield Finding("engine", "note", "has died; the next one goes on with its jobs")
        return
    try:
        status = engine.status()
    except EngineError as error:
        yield Finding("engine", "wrong", str(error))
        return
    if status.get("trouble"):
        yield Finding("jobs", "note", status["trouble"], "Submit again what is missing.")
    told = f"{status['version']}, worker {status['worker']}, jobs {status['jobs']}"
    fine = status["supervisor_age"] < 30 and status["worker"] != "down"
    yield Finding("engine", "ok" if fine else "wrong", told, "See log.jsonl in the state folder.")


def write_zip(target: Path, folder: Path, findings: Sequence[Finding]) -> None:
    """Write findings and the ends of the logs, redacted."""
    logs = [LOG_FILE, *(f"{LOG_FILE}.{number}" for number in range(1, OLD_FILES + 1)), OUTPUT_FILE]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doctor.json", redact(json.dumps([asdict(f) for f in findings], indent=1)))
        for name in logs:
            if (folder / name).is_file():
                text = (folder / name).read_text(encoding="utf-8", errors="replace")
                archive.writestr(name, redact(text))
