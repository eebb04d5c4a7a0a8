# SPDX-License-Identifier: GPL-3.0-or-later
"""BVH and glTF: read back by other means than they are written with."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from syncsde_engine.motion import bvh, glb, mannequin
from syncsde_engine.motion.fit import Fit, fit
from syncsde_engine.motion.skeleton import JOINTS, OFFSETS
from tests.motion.figures import accessor, posed, read_glb, turning
from training.motion.clips import draw_clip

FOREIGN = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Zposition Yposition Xposition Yrotation Zrotation Xrotation
  JOINT Chest
  {
    OFFSET 0 10 0
    CHANNELS 3 Xrotation Yrotation Zrotation
    End Site
    { OFFSET 0 5 0 }
  }
  JOINT Tail
  {
    OFFSET 0 0 -4
    CHANNELS 0
  }
}
MOTION
Frames: 2
Frame Time: 0.008333
3 90 1  30 20 10  40 50 60
4 91 2  -30 15 5  0 0 90
"""


@pytest.fixture(scope="module")
def motion():
    return fit(draw_clip(7, 0, "kick").joints)


def test_bvh_there_and_back(motion):
    found = bvh.read(bvh.write(motion))
    assert found.frame_time == pytest.approx(1 / 20, abs=1e-9)
    order = [found.names.index(name) for name in JOINTS]
    assert np.abs(found.joints()[:, order] - motion.joints()).max() < 1e-6


def test_bvh_of_turns_beyond_half_a_circle():
    motion = Fit(OFFSETS, *turning(200, amount=1.4))
    found = bvh.read(bvh.write(motion))
    order = [found.names.index(name) for name in JOINTS]
    assert np.abs(found.joints()[:, order] - motion.joints()).max() < 1e-6


def test_another_programs_bvh_with_other_channels():
    found = bvh.read(FOREIGN)
    assert (found.names, found.parents) == (("Hips", "Chest", "Tail"), (-1, 0, 0))
    root = np.array([[1, 90, 3], [2, 91, 4]], float)
    turn = Rotation.from_euler("YZX", [[30, 20, 10], [-30, 15, 5]], degrees=True).as_matrix()
    joints = found.joints()
    assert np.abs(joints[:, 0] - root).max() < 1e-12
    assert np.abs(joints[:, 1] - root - turn @ [0, 10, 0]).max() < 1e-9
    assert np.abs(joints[:, 2] - root - turn @ [0, 0, -4]).max() < 1e-9


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("", "HIERARCHY"),
        (FOREIGN.replace("MOTION", ""), "MOTION"),
        (FOREIGN.rpartition(" ")[0], "numbers"),
        (FOREIGN.replace("Xposition", "Xscale"), "Xscale"),
        (FOREIGN.replace("Frames: 2", "Frames:"), "Frames"),
        ("HIERARCHY ROOT a { OFFSET 0 0 MOTION", "HIERARCHY|MOTION"),
        ("HIERARCHY surprise MOTION", "surprise"),
    ],
)
def test_broken_bvh_says_what_is_wrong(broken, said):
    with pytest.raises(ValueError, match=said):
        bvh.read(broken)


def test_gltf_joints_are_where_they_should_be(motion):
    document, binary = read_glb(glb.write(motion))
    assert [document["nodes"][j]["name"] for j in document["skins"][0]["joints"]] == list(JOINTS)
    for frame in (0, 40, 119):
        found = posed(document, binary, frame)[:, :3, 3]
        assert np.abs(found - motion.joints()[frame]).max() < 1e-5


def test_gltf_skin_follows_its_bones(motion):
    document, binary = read_glb(glb.write(motion))
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    vertices = accessor(document, binary, attributes["POSITION"])
    joint = accessor(document, binary, attributes["JOINTS_0"])[:, 0]
    unbind = accessor(document, binary, document["skins"][0]["inverseBindMatrices"])
    unbind = np.swapaxes(unbind.reshape(-1, 4, 4), 1, 2)
    assert (accessor(document, binary, attributes["WEIGHTS_0"]).sum(1) == 1).all()
    frame = 60
    matrices = (posed(document, binary, frame) @ unbind)[joint]
    placed = np.einsum("vij,vj->vi", matrices[:, :3, :3], vertices) + matrices[:, :3, 3]
    joints = motion.joints()[frame]
    near = np.linalg.norm(placed[:, None] - joints[None], axis=-1).min(1)
    assert near.max() < 0.3, "skin stays on the bones"
    assert placed[:, 1].min() > -0.08, "and above the floor"


def test_times_and_keys(motion):
    document, binary = read_glb(glb.write(motion))
    (animation,) = document["animations"]
    times = accessor(document, binary, animation["samplers"][0]["input"])[:, 0]
    assert times[-1] == pytest.approx((len(motion.root) - 1) / 20)
    assert len(animation["channels"]) == 1 + len(JOINTS)


def test_the_mannequin_is_closed_and_faces_outwards():
    mesh = mannequin.mannequin(OFFSETS)
    corners = mesh.vertices[mesh.triangles].astype(float)
    volume = np.einsum("ti,ti->t", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.03 < volume < 0.2, "cubic meters"
    assert np.abs(np.linalg.norm(mesh.normals, axis=1) - 1).max() < 1e-5
