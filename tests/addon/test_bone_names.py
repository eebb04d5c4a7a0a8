# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone is which joint, by names, without Blender."""

import pytest

from blender_addon.scene import bone_names
from syncsde_engine.motion import retarget, skeleton

MIXAMO = {
    "pelvis": "Hips",
    "spine1": "Spine",
    "spine2": "Spine1",
    "spine3": "Spine2",
    "neck": "Neck",
    "head": "Head",
    "left_collar": "LeftShoulder",
    "left_shoulder": "LeftArm",
    "left_elbow": "LeftForeArm",
    "left_wrist": "LeftHand",
    "left_hip": "LeftUpLeg",
    "left_knee": "LeftLeg",
    "left_ankle": "LeftFoot",
    "left_foot": "LeftToeBase",
}


def both(table):
    return table | {
        joint.replace("left", "right"): name.replace("Left", "Right")
        for joint, name in table.items()
    }


def test_joints_are_the_engines():
    assert set(bone_names.JOINTS) == set(skeleton.JOINTS)
    assert set(bone_names.NEEDED) == set(retarget.NEEDED)


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig5:", "Boy:"])
def test_mixamo_with_any_prefix(prefix):
    names = [prefix + name for name in both(MIXAMO).values()]
    names += [f"{prefix}LeftHandThumb1", f"{prefix}HeadTop_End", f"{prefix}LeftToe_End"]
    found = bone_names.guess(names)
    assert found == {joint: prefix + name for joint, name in both(MIXAMO).items()}
    assert bone_names.kind_of(found) == "Mixamo"


@pytest.mark.parametrize("kind", bone_names.RIGS)
def test_every_table_finds_its_own_rig(kind):
    names = list(bone_names.RIGS[kind].values())
    found = bone_names.guess([*names, "root", "ik_hand_l"])
    assert found == bone_names.RIGS[kind]
    assert bone_names.kind_of(found) == kind


def test_a_generated_rigify_rig_is_no_metarig():
    fk = list(bone_names.RIGS["Rigify"].values())
    deforming = [f"DEF-{name}" for name in bone_names.RIGS["Rigify Metarig"].values()]
    assert bone_names.guess([*deforming, *fk])["left_hip"] == "thigh_fk.L"


UNKNOWN = {
    "CC": (
        "CC_Base_Hip CC_Base_Waist CC_Base_Spine01 CC_Base_Spine02 CC_Base_NeckTwist01 "
        "CC_Base_Head CC_Base_L_Clavicle CC_Base_L_Upperarm CC_Base_L_Forearm CC_Base_L_Hand "
        "CC_Base_R_Clavicle CC_Base_R_Upperarm CC_Base_R_Forearm CC_Base_R_Hand "
        "CC_Base_L_Thigh CC_Base_L_Calf CC_Base_L_CalfTwist01 CC_Base_L_Foot CC_Base_L_ToeBase "
        "CC_Base_R_Thigh CC_Base_R_Calf CC_Base_R_Foot CC_Base_R_ToeBase",
        {
            "pelvis": "CC_Base_Hip",
            "left_knee": "CC_Base_L_Calf",
            "right_shoulder": "CC_Base_R_Upperarm",
            "left_foot": "CC_Base_L_ToeBase",
            "spine3": "CC_Base_Spine02",
        },
    ),
    "3ds Max": (
        "Bip01_Pelvis Bip01_Spine Bip01_Spine1 Bip01_Neck Bip01_Head Bip01_L_Clavicle "
        "Bip01_L_UpperArm Bip01_L_Forearm Bip01_L_Hand Bip01_L_Finger0 Bip01_R_UpperArm "
        "Bip01_R_Forearm Bip01_L_Thigh Bip01_L_Calf Bip01_L_Foot Bip01_L_Toe0 Bip01_R_Thigh "
        "Bip01_R_Calf Bip01_R_Foot",
        {
            "pelvis": "Bip01_Pelvis",
            "left_collar": "Bip01_L_Clavicle",
            "left_shoulder": "Bip01_L_UpperArm",
            "left_wrist": "Bip01_L_Hand",
            "right_ankle": "Bip01_R_Foot",
            "spine3": "Bip01_Spine1",
        },
    ),
    "plain": (
        "Hips Spine Chest Neck Head Shoulder.L UpperArm.L LowerArm.L Hand.L UpperLeg.L "
        "LowerLeg.L Foot.L Toes.L Shoulder.R UpperArm.R LowerArm.R Hand.R UpperLeg.R "
        "LowerLeg.R Foot.R Toes.R LegIK.L Knee_pole.L",
        {
            "pelvis": "Hips",
            "spine1": "Spine",
            "spine3": "Chest",
            "left_hip": "UpperLeg.L",
            "left_knee": "LowerLeg.L",
            "right_collar": "Shoulder.R",
            "right_elbow": "LowerArm.R",
        },
    ),
}


@pytest.mark.parametrize("maker", UNKNOWN)
def test_bones_of_unknown_makers_are_guessed_by_words(maker):
    names, expected = UNKNOWN[maker]
    found = bone_names.guess(names.split())
    assert expected.items() <= found.items()
    assert bone_names.missing(found) == []
    assert bone_names.kind_of(found) == ""


def test_what_is_missing_is_named_as_artists_call_it():
    assert bone_names.missing({"pelvis": "Hips", "left_hip": ""})[:3] == [
        "Thigh L",
        "Thigh R",
        "Shin L",
    ]


def test_lines_are_read_and_written():
    bones = {"pelvis": "Hips", "left_knee": "mixamorig:LeftLeg"}
    assert bone_names.from_lines(bone_names.to_lines(bones)) == bones
    for line in ("knee: Shin", "left_knee", "left_knee:"):
        with pytest.raises(ValueError, match="is not a joint, a colon and a bone"):
            bone_names.from_lines(line)
