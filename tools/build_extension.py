# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the Blender extension: python tools/build_extension.py [--output DIR].

The zip holds the manifest, the licence, the modules of blender_addon/ and what the embedded model
knows at its root. The same
sources give the same bytes on every machine: names sorted, dates fixed, nothing compressed (each
version of zlib compresses differently, and all of it is small).
"""

from __future__ import annotations

import argparse
import io
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATE = (1980, 1, 1, 0, 0, 0)


def members(root: Path = ROOT) -> dict[str, Path]:
    """Return what goes into the zip: name inside it -> source file."""
    files = {name: root / name for name in ("blender_manifest.toml", "LICENSE")}
    files |= {source.name: source for source in (root / "blender_addon").glob("*.py")}
    # The words that the embedded model knows, which the prompt fields suggest.
    files["mini.json"] = root / "syncsde_engine" / "models" / "mini" / "syncsde.json"
    return dict(sorted(files.items()))


def build(output: Path, root: Path = ROOT) -> Path:
    """Write `syncsde-<version>.zip` into `output` and return its path."""
    manifest = tomllib.loads((root / "blender_manifest.toml").read_text(encoding="utf-8"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, source in members(root).items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system = 3  # Unix, also when built on Windows
            entry.external_attr = 0o100644 << 16
            text = source.read_bytes().replace(b"\r\n", b"\n")
            archive.writestr(entry, text)
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{manifest['id']}-{manifest['version']}.zip"
    partial = target.with_suffix(".part")
    partial.write_bytes(content.getvalue())
    partial.replace(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="default: dist/")
    print(build(parser.parse_args().output))


if __name__ == "__main__":
    main()
