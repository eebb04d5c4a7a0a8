# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of every feature, and what Blender's importers make of them: the same triangles.

SYNCSDE_BPY names Python programs with bpy, separated like PATH.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from syncsde_engine.mesh.files.gltf_back import gltf_back
from syncsde_engine.mesh.files.io import load
from syncsde_engine.mesh.intake.take_in import take_in
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.pictures import png
from tests.mesh.gltf_files import FILES, Gltf
from tests.mesh.rich_gltf import character

BLENDERS = [path for path in os.environ.get("SYNCSDE_BPY", "").split(os.pathsep) if path]
SCRIPT = Path(__file__).with_name("scene_in_blender.py")
SECONDS = 300
PLAIN = "v 0 0 0\nv 3 0 0\nv 3 3 1\nv 0 3 0\nv 1 1 0\nv 1 2 0\nv 2 2 0\nv 2 1 0\n"
TEXTS = {
    "holed.obj": PLAIN.replace("3 3 1", "3 3 0") + "f 1 2 3 4 1 5 6 7 8 5\n",
    "bad lines.obj": PLAIN + "f 1 2\nf 1 2 3\nf 0 1 2\nf a b c\nf 1 3 4\n",
    "leaves.obj": PLAIN + "o Leaf\nf 1 2 3\no Leaf\nf 1 3 4\no Root\nusemtl a\nf 5 6 7\n",
    "quads.obj": PLAIN + "v 2 1 5\nf 1 2 3 4\nf 1 2 5 4\nf 1 5 2 3\nf 5 6 7 9\n",
    "coordinates.obj": PLAIN + "vt 0 0\nvt 1 0\nvt 1 .5\nf 1/1 2/2 3/3\nf 1/3 3/1 4/2\n",
    "strip.ply": "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\n"
    "property float z\nelement tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    "0 0 0\n1 0 0\n0 1 0\n1 1 2\n4 0 1 2 3\n",
    "mixed.ply": "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\n"
    "property float z\nproperty float s\nproperty float t\nelement face 3\n"
    "property list uchar int vertex_indices\nend_header\n0 0 0 0 0\n2 0 0 1 0\n2 2 0 1 1\n"
    "1 .5 0 .5 .2\n0 2 0 0 1\n3 0 1 3\n4 0 1 2 3\n5 2 3 4 0 1\n",
    "facets.stl": "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\n"
    "vertex 0 1 0\nendloop\nendfacet\nendsolid a\n",
}


def write(folder: Path) -> list[Path]:
    paths = []
    for name, (make, _) in FILES.items():
        file: Gltf = make()
        paths += [file.write(folder / f"{name}.glb"), file.write(folder / f"{name}.gltf")]
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
        paths.append(folder / name)
    return paths


def rows(points: np.ndarray, uvs: np.ndarray, owners: list[tuple]) -> list[tuple]:
    """Triangles in an order of their own: corners from the smallest on, then sorted."""
    corners = np.round(np.concatenate([points, uvs], axis=2), 3) + 0.0
    found = []
    for corner, owner in zip(corners.tolist(), owners, strict=True):
        first = corner.index(min(corner))
        turned = corner[first:] + corner[:first]
        found.append((owner, [value for each in turned for value in each]))
    return sorted(found)


def ours(mesh: Mesh) -> list[tuple]:
    uvs = np.zeros((len(mesh.triangles), 3, 2))
    if mesh.uvs is not None and mesh.uv_triangles is not None:
        there = (mesh.uv_triangles >= 0).all(axis=1)
        uvs[there] = mesh.uvs[mesh.uv_triangles[there]]
    objects, materials = mesh.owners("object"), mesh.owners("material")
    owners = [(mesh.objects[o], mesh.materials[m]) for o, m in zip(objects, materials, strict=True)]
    return rows(mesh.positions[mesh.triangles].astype(float), uvs, owners)


def blenders(triangles: list[dict], like: Mesh) -> list[tuple]:
    points = np.array([each["points"] for each in triangles])
    uvs = np.array([each["uvs"] or np.zeros((3, 2)) for each in triangles])
    owners = [(each["object"], each["material"] or Mesh.materials[0]) for each in triangles]
    if {owner[0] for owner in owners} != set(like.objects):  # Blender calls instances as meshes
        names = sorted({owner[0] for owner in owners})
        assert len(names) == len(like.objects)
        renamed = dict(zip(names, sorted(like.objects), strict=True))
        owners = [(renamed[name], material) for name, material in owners]
    return rows(points, uvs, owners)


@pytest.mark.parametrize("python", BLENDERS or [None])
def test_the_mesh_is_what_blender_shows(python: str | None, tmp_path: Path):
    if python is None:
        pytest.skip("SYNCSDE_BPY names no environment with bpy")
    paths, target = write(tmp_path), tmp_path / "shown.json"
    command = [python, SCRIPT, target, *paths]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    shown = json.loads(target.read_text())
    for path in paths:
        mesh = load(path)
        mine, theirs = ours(mesh), blenders(shown[str(path)], mesh)
        assert [owner for owner, _ in mine] == [owner for owner, _ in theirs], path.name
        np.testing.assert_allclose(
            [row for _, row in mine], [row for _, row in theirs], atol=2e-3, err_msg=path.name
        )


@pytest.mark.parametrize("python", BLENDERS or [None])
def test_a_character_that_was_painted_moves_as_before(python: str | None, tmp_path: Path):
    """Bones, shape keys, curves and every triangle at several times; new coordinates or not."""
    if python is None:
        pytest.skip("SYNCSDE_BPY names no environment with bpy")
    before = character(primitives=2).write(tmp_path / "before.glb")
    shades = [png(np.full((5, 5, 3), shade, np.uint8)) for shade in (50, 150)]
    after = {}
    for uv in ("auto", "unwrap"):
        mesh = take_in(load(before), uv, 64).whole
        after[uv] = tmp_path / f"{uv}.glb"
        after[uv].write_bytes(gltf_back(mesh, shades)[0])
    target = tmp_path / "shown.json"
    command = [python, SCRIPT.with_name("motion_in_blender.py"), target, before, *after.values()]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    shown = json.loads(target.read_text())
    known = shown[str(before)]
    assert len({json.dumps(frame) for frame in known["frames"]}) == 5  # it does move
    assert known["keys"]["Shape"][2][0] == "Frown"
    for uv, path in after.items():
        found = shown[str(path)]
        assert found["colors"]["Shape"] == 1 + known["colors"]["Shape"]  # white before them
        for key in ("objects", "extras", "keys", "groups", "actions"):
            assert found[key] == known[key], (uv, key)
        assert found["layers"]["Shape"] == known["layers"]["Shape"] + (uv == "unwrap")
        assert found["textures"]["Shape"] == [[5], [5]]
        for here, there in zip(found["frames"], known["frames"], strict=True):
            np.testing.assert_allclose(here["Shape"], there["Shape"], atol=2e-4)
            assert here.keys() == there.keys()
            (rig,) = (name for name in there if name == "Armature")
            assert here[rig] == there[rig]
