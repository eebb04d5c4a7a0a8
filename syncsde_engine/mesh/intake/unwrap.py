# SPDX-License-Identifier: GPL-3.0-or-later
"""Texture coordinates for a mesh that has none: xatlas within a time limit, else fast charts.

The limit keeps an unwrap of 70k faces under ten seconds, charts included; where xatlas needs about
that long, which of the two it is can change from run to run (the report tells).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import InvalidMesh
from ..mesh import Mesh, check, check_uvs
from .charts import chart_unwrap

log = logging.getLogger(__name__)

MAX_XATLAS_FACES = 100_000
SECONDS = 8.0  # for xatlas
GAP = 6  # texels between charts; at least 4 remain after rounding and scaling
FILLED = 0.85  # of the side that xatlas is asked for, so that it stays about the texture's


# Ctrl-C is the parent's to answer: one that lets its asset finish must not lose xatlas on the way.
GROUP = 0 if os.name == "posix" else None
FLAGS: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows

Unwrapper = Literal["xatlas", "charts"]


def unwrap(mesh: Mesh, texture_size: int, seconds: float = SECONDS) -> tuple[Mesh, Unwrapper]:
    """Give a mesh new texture coordinates, without overlap, and at least 4 texels between charts.

    Vertices and triangles stay untouched. Meshes of more than 100k faces, and those that xatlas
    fails on or does not finish within `seconds`, get the charts of `charts.chart_unwrap`. Returns
    also which of the two it was. Raises InvalidMesh for a mesh that was not sanitized.
    """
    check(replace(mesh, uvs=None, uv_triangles=None))
    if len(mesh.triangles) <= MAX_XATLAS_FACES and seconds > 0:
        unwrapped = _unwrap_with_xatlas(mesh, seconds, texture_size)
        if unwrapped is not None:
            return unwrapped, "xatlas"
    return chart_unwrap(mesh, texture_size, GAP), "charts"


def _unwrap_with_xatlas(mesh: Mesh, seconds: float, texture_size: int) -> Mesh | None:
    """None if xatlas is missing, failed, ran too long or returned nonsense."""
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="syncsde-") as folder:
        source, target = Path(folder, "mesh.npz"), Path(folder, "uvs.npz")
        np.savez(source, positions=mesh.positions, triangles=mesh.triangles)
        numbers = (max(16, round(FILLED * texture_size)), GAP // 2, seconds)
        module = "syncsde_engine.mesh.intake.unwrap_xatlas"
        # -P: nothing in the current folder may stand in for a library.
        command = [sys.executable, "-P", "-m", module, str(source), str(target)]
        command += map(str, numbers)
        try:
            subprocess.run(
                command,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                check=True,
                process_group=GROUP,
                creationflags=FLAGS,
            )
            with np.load(target, allow_pickle=False) as arrays:
                unwrapped = replace(mesh, uvs=arrays["uvs"], uv_triangles=arrays["uv_triangles"])
            check(unwrapped)
            check_uvs(unwrapped)
        except subprocess.TimeoutExpired:
            log.info("xatlas did not finish in %g s: fast charts instead", seconds)
        except subprocess.CalledProcessError as error:
            log.info("xatlas failed: fast charts instead (%s)", error.stderr[-200:])
        except (OSError, ValueError, InvalidMesh) as error:
            log.info("xatlas gave no usable result: fast charts instead (%s)", error)
        else:
            return unwrapped
    return None
