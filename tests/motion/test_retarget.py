# SPDX-License-Identifier: GPL-3.0-or-later
"""A motion on armatures of other proportions, poses, rolls, sizes and spaces, without Blender."""

import numpy as np
import pytest

from syncsde_engine.motion import retarget
from syncsde_engine.motion.fit import fit
from syncsde_engine.motion.limbs import lock_feet
from syncsde_engine.motion.metrics import skate
from syncsde_engine.motion.retarget import LIMBS, TO_BLENDER, Clip, Rig
from syncsde_engine.motion.rotations import about_axis, from_quaternions, unit
from syncsde_engine.motion.skeleton import COUNT, INDEX, PARENTS, world_rotations
from training.motion.clips import draw_clip

DOWN = np.radians(40)  # of arms at rest


def clip_of(verb, number=1):
    motion = fit(draw_clip(7, number, verb).joints)
    return Clip(motion.offsets, world_rotations(motion.rotations), motion.joints())


def an_armature(clip, rolls=0, arms_down=False, size=1.0, longer=1.0, world=None, inside=None):
    """The body itself as bones; `inside` turns the armature's own space, undone by the object."""
    joints = retarget.body_at_rest(clip)
    random = np.random.default_rng(3)
    if arms_down:
        for shoulder, side in ((16, 1), (17, -1)):
            turn = about_axis("y", side * DOWN)
            for joint in (shoulder + 2, shoulder + 4):
                joints[joint] = joints[shoulder] + turn @ (joints[joint] - joints[shoulder])
    joints = joints * (longer, longer, longer)
    rest = np.tile(np.eye(4), (COUNT, 1, 1))
    for joint in range(COUNT):
        child = next((j for j in range(COUNT) if PARENTS[j] == joint), None)
        along = joints[child] - joints[joint] if child else np.array([0, 0, 1.0])
        y = unit(along)
        x = unit(np.cross(y, [0.3, 0.8, 0.1]))
        frame = np.stack([x, y, np.cross(x, y)], axis=1) @ about_axis("y", rolls * random.random())
        rest[joint, :3, :3], rest[joint, :3, 3] = frame, joints[joint] / size
    whole = np.eye(4)
    whole[:3, :3] *= size
    if inside is not None:
        rest[:, :3] = inside.T @ rest[:, :3]
        whole[:3, :3] = whole[:3, :3] @ inside
    return Rig(rest, PARENTS, tuple(range(COUNT)), whole if world is None else world @ whole)


def stand(pose, rig):
    """Blender's own way to pose: (F, B, 4, 4) in the world."""
    basis = np.tile(np.eye(4), (*pose.quaternions.shape[:2], 1, 1))
    basis[:, :, :3, :3] = from_quaternions(pose.quaternions)
    if pose.location is not None:
        basis[:, rig.of(INDEX["pelvis"]), :3, 3] = pose.location
    posed = np.empty_like(basis)
    for bone, carrier in enumerate(rig.carriers):
        place = rig.rest[bone]
        if carrier >= 0:
            place = posed[:, carrier] @ np.linalg.inv(rig.rest[carrier]) @ place
        posed[:, bone] = place @ basis[:, bone]
    return rig.world @ posed


def moved(angle=0.0, place=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = about_axis("z", angle), place
    return matrix


Y_UP = about_axis("x", np.pi / 2)
RIGS = {
    "itself": {},
    "rolls": {"rolls": 6.0},
    "arms down": {"arms_down": True},
    "centimeters, y up": {"size": 0.01, "inside": Y_UP, "rolls": 6.0, "arms_down": True},
    "a giant": {"longer": 2.5},
    "turned": {"world": moved(1.1, (3, -2, 0.5)), "rolls": 6.0},
}


@pytest.mark.parametrize("name", RIGS)
@pytest.mark.parametrize("verb", ["walk", "sit", "punch"])
def test_limbs_point_where_the_bodys_do(name, verb):
    clip = clip_of(verb)
    rig = an_armature(clip, **RIGS[name])
    posed = stand(retarget.retarget(clip, rig), rig)
    turn = rig.world[:3, :3] @ np.linalg.inv(
        an_armature(clip, **{**RIGS[name], "world": None}).world[:3, :3]
    )
    for joint, end in LIMBS.items():
        bone = unit(posed[:, end, :3, 3] - posed[:, joint, :3, 3])
        body = unit(clip.joints[:, end] - clip.joints[:, joint]) @ (turn @ TO_BLENDER).T
        angle = np.degrees(np.arccos(np.clip((bone * body).sum(-1), -1, 1)))
        assert angle.max() < 1e-4


def test_on_itself_nothing_changes():
    clip = clip_of("walk")
    rig = an_armature(clip, rolls=6.0)
    posed = stand(retarget.retarget(clip, rig), rig)
    assert np.abs(posed[:, :, :3, 3] - clip.joints @ TO_BLENDER.T).max() < 1e-9


@pytest.mark.parametrize("longer", [0.5, 2.0])
def test_travel_is_scaled_by_the_legs_and_soles_stay_on_the_floor(longer):
    clip = clip_of("walk")
    rig = an_armature(clip, longer=longer, world=moved(0.4, (1, 2, 3)))
    posed = stand(retarget.retarget(clip, rig), rig)
    travel = np.linalg.norm(posed[-1, 0, :2, 3] - posed[0, 0, :2, 3])
    assert travel == pytest.approx(
        longer * np.linalg.norm((clip.joints[-1] - clip.joints[0])[0, [0, 2]])
    )
    toes = posed[:, 10:12, 2, 3].min(axis=1) - 3
    rest = rig.heads()[10:12, 2].min() - 3
    assert np.percentile(toes, 5) == pytest.approx(rest, abs=1e-6)


def test_a_figure_walks_where_it_faces_from_where_it_stands_or_is_told():
    clip = clip_of("walk")
    rig = an_armature(clip, world=moved(np.pi / 2, (3, 0, 0)))  # faces +x
    start = clip.joints[0, 0] @ TO_BLENDER.T
    ahead = (clip.joints[-1] - clip.joints[0])[0] @ TO_BLENDER.T
    posed = stand(retarget.retarget(clip, rig), rig)[:, 0, :3, 3]
    turn = about_axis("z", np.pi / 2)
    assert np.allclose(posed[-1] - posed[0], turn @ ahead, atol=1e-6)
    there = np.array([10.0, 20, 30])
    posed = stand(retarget.retarget(clip, rig, origin=there), rig)[:, 0, :3, 3]
    assert np.allclose(posed[0], there + turn @ start, atol=1e-6)


def test_root_motion_is_on_in_place_or_off():
    clip = clip_of("walk")
    rig = an_armature(clip)
    hips = {
        root: stand(retarget.retarget(clip, rig, root), rig)[:, 1:3, :3, 3].mean(1)
        for root in ("on", "in place")
    }
    assert np.ptp(hips["on"][:, :2], axis=0).max() > 0.5
    assert np.ptp(hips["in place"][:, :2], axis=0).max() < 1e-9
    assert np.allclose(hips["in place"][:, 2], hips["on"][:, 2])
    assert retarget.retarget(clip, rig, "off").location is None


def test_feet_stay_where_they_stand():
    clip = clip_of("walk", 3)
    random = np.random.default_rng(0)
    slide = np.cumsum(random.normal(size=(len(clip.joints), 1, 3)) * (0.008, 0, 0.008), axis=0)
    clip = Clip(clip.offsets, clip.turns, clip.joints + slide)
    rig = an_armature(clip, rolls=6.0, longer=1.3, world=moved(1.0, (2, 2, 0)))
    sliding = {}
    for lock in (False, True):
        pose = retarget.retarget(clip, rig, lock_feet=lock)
        joints = stand(pose, rig)[:, :, :3, 3] @ TO_BLENDER / 1.3
        sliding[lock] = skate(joints)
    assert sliding[False] > 0.05
    assert sliding[True] < 0.7 * sliding[False]
    assert sliding[True] == pytest.approx(skate(lock_feet(clip.joints)), abs=0.01)


def test_bones_without_a_joint_ride_on_what_carries_them():
    clip = clip_of("walk")
    rig = an_armature(clip)
    joints = tuple(-1 if joint == INDEX["spine2"] else joint for joint in range(COUNT))
    rig = Rig(rig.rest, rig.carriers, joints, rig.world)
    pose = retarget.retarget(clip, rig)
    assert np.allclose(pose.quaternions[:, INDEX["spine2"]], (1, 0, 0, 0))
    posed = stand(pose, rig)
    bone = unit(posed[:, 18, :3, 3] - posed[:, 16, :3, 3])
    body = unit(clip.joints[:, 18] - clip.joints[:, 16]) @ TO_BLENDER.T
    assert np.allclose(bone, body, atol=1e-9)


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_angles_say_the_same_rotation_without_jumps(order):
    clip = clip_of("dance")
    turns = clip.turns[:, INDEX["left_shoulder"]]
    angles = retarget.to_euler(turns, order)
    again = np.eye(3)
    for axis in order:
        again = about_axis(axis.lower(), angles[:, "XYZ".index(axis)]) @ again
    assert np.abs(again - turns).max() < 1e-9
    assert np.abs(np.diff(angles, axis=0)).max() < np.pi


@pytest.mark.parametrize("fps", [12, 24, 25, 30, 59.94])
def test_a_clip_lasts_the_same_seconds_in_every_scene(fps):
    frames, places = retarget.frames_for(121, fps, 1.0)
    assert frames[0] == 1
    assert (frames[-1] - frames[0]) / fps == pytest.approx(6.0, abs=1 / fps)
    assert np.allclose(places / 20, (frames - 1) / fps)


def test_between_frames_turns_go_the_shorter_way():
    quaternions = np.array([[[1.0, 0, 0, 0]], [[-np.cos(0.4), -np.sin(0.4), 0, 0]]])
    pose = retarget.Pose(quaternions, np.array([[0.0, 0, 0], [2, 0, 0]])).at(np.array([0, 0.25, 1]))
    assert np.allclose(pose.quaternions[1, 0], [np.cos(0.1), np.sin(0.1), 0, 0])
    assert np.allclose(pose.location[:, 0], [0, 0.5, 2])


def test_an_armature_that_lies_at_rest_stands_up():
    clip = clip_of("walk")
    lying = np.eye(4)
    lying[:3, :3] = about_axis("x", np.pi / 2)
    rig = an_armature(clip, world=lying)
    posed = stand(retarget.retarget(clip, rig), rig)
    for joint, end in LIMBS.items():
        bone = unit(posed[:, end, :3, 3] - posed[:, joint, :3, 3])
        body = unit(clip.joints[:, end] - clip.joints[:, joint]) @ TO_BLENDER.T
        assert np.abs(bone - body).max() < 1e-9


def test_thick_soles_stand_on_the_floor():
    clip = clip_of("march")
    plain = an_armature(clip)
    rest = plain.rest.copy()
    toes = [INDEX["left_foot"], INDEX["right_foot"]]
    rest[[joint for joint in range(COUNT) if joint not in toes], 2, 3] += 0.06
    rig = Rig(rest, plain.carriers, plain.joints, plain.world)
    ankles = [INDEX["left_ankle"], INDEX["right_ankle"]]
    low, high = (
        stand(retarget.retarget(clip, each), each)[:, ankles, 2, 3].min(axis=1)
        for each in (plain, rig)
    )
    assert np.allclose(high - low, 0.06, atol=1e-6)
