# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the Blender extension: python tools/build_extension.py [--output DIR] [--wheel FILE].

The zip holds the manifest, the license, the modules of blender_addon/, those of the engine's motion
that figures need, the words of the embedded model, and the picture library's list and thumbnails.
The same sources give the same bytes on every machine: names sorted, dates fixed, nothing compressed
(each version of zlib compresses differently, and all of it is small). With --wheel the zip also
holds the engine's wheel and the versions of what that needs, for *Install Engine*.
"""

from __future__ import annotations

import argparse
import io
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATE = (1980, 1, 1, 0, 0, 0)
BINARY = (".webp", ".whl")
SHARED = (
    "match.py",
    "colors.py",
    "listing.py",
    "map_names.py",
    "recolor.py",
)  # modules of the engine's library
MOTION = (
    "__init__.py",
    "limbs.py",
    "mannequin.py",
    "retarget.py",
    "rotations.py",
    "skeleton.py",
)  # and of its motion


def members(root: Path = ROOT, wheel: Path | None = None) -> dict[str, Path]:
    """Return what goes into the zip: name inside it -> source file."""
    files = {name: root / name for name in ("blender_manifest.toml", "LICENSE")}
    add_on = root / "blender_addon"
    files |= {source.relative_to(add_on).as_posix(): source for source in add_on.rglob("*.py")}
    # The words that the embedded model knows, which the prompt fields suggest.
    files["library/mini.json"] = root / "syncsde_engine" / "models" / "mini" / "syncsde.json"
    # The picture library's list, what reads, finds and dyes pictures, thumbnails and credits.
    library = root / "syncsde_engine" / "library"
    files |= {f"library/{name}": library / name for name in ("library.json", *SHARED)}
    motion = root / "syncsde_engine" / "motion"
    files |= {f"motion/{name}": motion / name for name in MOTION}
    files["library/thumbnails/README.md"] = library / "README.md"
    thumbnails = (add_on / "library" / "thumbnails").glob("*.webp")
    files |= {f"library/thumbnails/{source.name}": source for source in thumbnails}
    if wheel is not None:
        files[f"engine/{wheel.name}"] = wheel
        files["engine/versions.txt"] = root / "requirements" / "engine.lock"
    return dict(sorted(files.items()))


def build(output: Path, root: Path = ROOT, wheel: Path | None = None) -> Path:
    """Write `syncsde-<version>.zip` into `output` and return its path."""
    manifest = tomllib.loads((root / "blender_manifest.toml").read_text(encoding="utf-8"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, source in members(root, wheel).items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system = 3  # Unix, also when built on Windows
            entry.external_attr = 0o100644 << 16
            data = source.read_bytes()
            archive.writestr(
                entry, data if source.suffix in BINARY else data.replace(b"\r\n", b"\n")
            )
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{manifest['id']}-{manifest['version']}.zip"
    partial = target.with_suffix(".part")
    partial.write_bytes(content.getvalue())
    partial.replace(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="default: dist/")
    parser.add_argument("--wheel", type=Path, help="of the engine")
    options = parser.parse_args()
    print(build(options.output, wheel=options.wheel))


if __name__ == "__main__":
    main()
