# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a static extension repository: python tools/build_repository.py ZIP [--output DIR].

The folder holds `index.json` and the zip. Blender takes it as a remote repository by the address of
`index.json`, on a web server or a shared drive (file:///...), and offers updates from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTED = (  # what an entry takes from the manifest
    *("schema_version", "id", "name", "tagline", "version", "type", "maintainer", "license"),
    *("blender_version_min", "blender_version_max", "website", "copyright", "permissions", "tags"),
)


def entry(package: Path) -> dict[str, object]:
    """What the index says of an extension's zip."""
    with zipfile.ZipFile(package) as archive:
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
    content = package.read_bytes()
    return {
        **{name: manifest[name] for name in LISTED if name in manifest},
        "archive_url": f"./{package.name}",
        "archive_size": len(content),
        "archive_hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }


def build(package: Path, output: Path) -> Path:
    """Write the repository of one package and return its index."""
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package, output / package.name)
    index = output / "index.json"
    listing = {"version": "v1", "blocklist": [], "data": [entry(package)]}
    index.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a static extension repository.")
    parser.add_argument("package", type=Path, metavar="ZIP", help="the extension")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "repository")
    options = parser.parse_args()
    print(build(options.package, options.output))


if __name__ == "__main__":
    main()
