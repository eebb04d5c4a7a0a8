# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged files of every format: one sentence, or a mesh whose file can be given back."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncsde_engine.errors import InvalidMesh, InvalidRequest
from syncsde_engine.mesh.files.io import give_back, load
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.pictures import png
from tests.mesh.gltf_files import FILES
from tests.mesh.rich_gltf import character
from tests.mesh.test_as_blender import TEXTS

SHADE = png(np.full((4, 4, 3), 9, np.uint8))
WORDS = (
    *(b"-1", b"0", b"1e309", b"nan", b"inf", b"99999999999999999999", b"2147483648", b"-", b"//"),
    *(b"\\\n", b"\0", b"\xff", b"\r", b"#", b"0x10", b"1_0", b"\x0c", b"\n", "\u2028".encode()),
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "twice", "word", "end", "fill"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([1, 2, 4, 8, 32, 200]),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=5,
)


def edited(content: bytes, edits: list[tuple[str, float, int, int]]) -> bytes:
    changed = bytearray(content)
    for what, share, length, value in edits:
        place = int(share * len(changed))
        part = slice(place, place + length)
        if what == "set":
            changed[place : place + 1] = bytes([value])
        elif what == "cut":
            del changed[part]
        elif what == "twice":
            changed[place:place] = changed[part] * (1 + value % 3)
        elif what == "word":
            changed[part] = WORDS[value % len(WORDS)]
        elif what == "end":
            del changed[place:]
        else:
            changed[part] = bytes([value]) * len(changed[part])
    return bytes(changed)


@functools.cache
def seeds(folder: Path) -> list[tuple[str, bytes]]:
    found = [(name, text.encode()) for name, text in TEXTS.items()]
    made = {name: make for name, (make, _) in FILES.items()} | {"character": character}
    for name, make in made.items():
        found.append((f"{name}.glb", make().write(folder / f"{name}.glb").read_bytes()))
    box = trimesh.creation.box()
    found += [(f"box.{kind}", box.export(file_type=kind)) for kind in ("stl", "ply")]
    return found


def triangles(mesh: Mesh) -> np.ndarray:
    there = ((mesh.triangles >= 0) & (mesh.triangles < len(mesh.positions))).all(axis=1)
    rows = mesh.positions[mesh.triangles[there]].reshape(-1, 9)
    return rows[np.lexsort(rows.T)]


def check(folder: Path, name: str, content: bytes) -> None:
    """A file is refused, or read; what comes back of it has the same triangles."""
    path = folder / f"a{Path(name).suffix}"
    path.write_bytes(content)
    try:
        mesh = load(path)
    except (InvalidMesh, InvalidRequest):
        return
    if mesh.origin is None or not np.isfinite(triangles(mesh)).all(axis=1).any():
        return
    count = len(mesh.triangles)
    painted = replace(
        mesh,
        uvs=np.random.default_rng(0).random((3 * count, 2)).astype(np.float32),
        uv_triangles=np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        face_texture=(np.arange(count) % 2).astype(np.int32),
        textures=("a", "b"),
    )
    files, notes = give_back(painted, [SHADE, SHADE], {}, ["a.png", "b.png"], {})
    if any("written anew" in note or "no textured.obj" in note for note in notes):
        return
    result = "textured.obj" if mesh.origin.kind == "obj" else "textured.glb"
    (folder / result).write_bytes(files[result])
    np.testing.assert_array_equal(triangles(load(folder / result)), triangles(mesh))


@settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(number=st.integers(0, 10**6), edits=EDITS)
def test_a_damaged_file_is_refused_or_comes_back(number, edits, tmp_path):
    files = seeds(tmp_path)
    name, content = files[number % len(files)]
    check(tmp_path, name, edited(content, edits))


FOUND = {  # by longer runs of the same
    "infinite coordinates": (
        "a.obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt inf 0\nvt 0 nan\nf 1/1 2/2 3/1\n",
    ),
    "infinite corners": ("a.obj", b"v 0 0 1e309\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
    "a form feed": ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\x0cf 1 2 3\nf 1 2 3\n"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once(name, tmp_path):
    check(tmp_path, *FOUND[name])


@pytest.mark.parametrize("place", range(3))
def test_nodes_at_infinity_make_no_noise(place, tmp_path):
    """Matrices and weights of which numbers are none; warnings of numpy are errors here."""
    file = (FILES["skinned"][0], FILES["bent"][0], FILES["instances"][0])[place]()
    for index, accessor in enumerate(file.document["accessors"]):
        if accessor["componentType"] == 5126 and index > 2:
            view = file.document["bufferViews"][accessor["bufferView"]]
            start = view["byteOffset"]
            bad = np.array([np.nan, np.inf], "<f4").tobytes()
            file.body = file.body[:start] + bad + file.body[start + 8 :]
    check(tmp_path, "a.glb", file.write(tmp_path / "seed.glb").read_bytes())
