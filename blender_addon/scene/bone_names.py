# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone of an armature is which joint of the figure, told by the names of well-known rigs.

Pure text: no Blender is needed. The joints are those of SMPL and HumanML3D.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

CENTER = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
LIMBS = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
JOINTS = CENTER + tuple(f"{side}_{part}" for part in LIMBS for side in ("left", "right"))
_ALWAYS = ("hip", "knee", "ankle", "shoulder", "elbow")
NEEDED = ("pelvis", *(f"{side}_{part}" for part in _ALWAYS for side in ("left", "right")))
LABELS = {
    "hip": "Thigh",
    "knee": "Shin",
    "ankle": "Foot",
    "foot": "Toes",
    "collar": "Shoulder",
    "shoulder": "Upper Arm",
    "elbow": "Forearm",
    "wrist": "Hand",
    "pelvis": "Hips",
    "spine1": "Spine",
    "spine2": "Chest",
    "spine3": "Upper Chest",
    "neck": "Neck",
    "head": "Head",
}


def label(joint: str) -> str:
    """What an artist calls the bone that begins at a joint."""
    side, _, part = joint.rpartition("_")
    return f"{LABELS[part]} {side[:1].upper()}".strip()


def _named(center: str, limbs: str, side: str) -> dict[str, str]:
    """A rig's names from those of CENTER and LIMBS; `side` says where {} and left, right go."""
    first, left, right = side.split()
    names = dict(zip(CENTER, center.split(), strict=True))
    for part, name in zip(LIMBS, limbs.split(), strict=True):
        for word, sign in (("left", left), ("right", right)):
            names[f"{word}_{part}"] = first.replace("{}", name).replace("@", sign)
    return {joint: name for joint, name in names.items() if "-" not in name}


# The first whose needed bones are all there is taken. A hyphen: the rig has none of that kind.
RIGS: dict[str, dict[str, str]] = {
    "SMPL-X": _named(" ".join(CENTER), " ".join(LIMBS), "@_{} left right"),
    "Rigify": _named(
        "torso - spine_fk.002 spine_fk.003 neck head",
        "thigh_fk shin_fk foot_fk toe_fk shoulder upper_arm_fk forearm_fk hand_fk",
        "{}.@ L R",
    ),
    "Rigify Metarig": _named(
        "spine spine.001 spine.002 spine.003 spine.004 spine.006",
        "thigh shin foot toe shoulder upper_arm forearm hand",
        "{}.@ L R",
    ),
    "Mixamo": _named(
        "Hips Spine Spine1 Spine2 Neck Head",
        "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand",
        "@{} Left Right",
    ),
    "Unreal 5": _named(
        "pelvis spine_01 spine_03 spine_05 neck_01 head",
        "thigh calf foot ball clavicle upperarm lowerarm hand",
        "{}_@ l r",
    ),
    "Unreal": _named(
        "pelvis spine_01 spine_02 spine_03 neck_01 head",
        "thigh calf foot ball clavicle upperarm lowerarm hand",
        "{}_@ l r",
    ),
    "VRM": _named(
        "J_Bip_C_Hips J_Bip_C_Spine J_Bip_C_Chest J_Bip_C_UpperChest J_Bip_C_Neck J_Bip_C_Head",
        "UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand",
        "J_Bip_@_{} L R",
    ),
}
WHOLE = {"Unreal 5": "spine_05"}  # a name that only this rig has

# For armatures of unknown makers: words in a bone's name, the more telling ones first.
WORDS: dict[str, tuple[str, ...]] = {
    "knee": ("lowerleg", "lowleg", "calf", "shin", "knee", "legdown"),
    "hip": ("upperleg", "upleg", "thigh", "legup", "hip", "leg"),
    "foot": ("toebase", "toe", "ball"),
    "ankle": ("ankle", "foot"),
    "elbow": ("forearm", "lowerarm", "lowarm", "elbow"),
    "wrist": ("wrist", "hand"),
    "collar": ("clavicle", "collar", "shoulder"),
    "shoulder": ("upperarm", "uparm", "arm"),
    "head": ("head",),
    "neck": ("neck",),
    "pelvis": ("pelvis", "hips", "hip", "cog"),
    "spine": ("spine", "chest", "torso", "abdomen", "waist", "back"),
}
# Bones that are helpers, fingers or faces.
OTHERS = re.compile(
    r"twist|roll|finger|thumb|index|middle|ring|pinky|little|ik|pole|target|eye|jaw|brow|ctrl|"
    r"control|helper|breast|hair|skirt|end$|tip$|nub$|metacarpal|heel|root"
)


def guess(names: Iterable[str], parents: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Say which bone follows which joint: joint -> name, those that were found.

    Args:
        names: the bones, each after its parent.
        parents: the parent of each; of bones that look alike, those on the way are taken.
    """
    bones = list(names)
    short = {plain(name): name for name in reversed(bones)}
    for kind, table in RIGS.items():
        if kind in WHOLE and WHOLE[kind] not in short:
            continue
        found = {joint: short[name] for joint, name in table.items() if name in short}
        if all(joint in found for joint in NEEDED):
            return found
    return by_words(bones, parents or {})


def kind_of(bones: Mapping[str, str]) -> str:
    """Which well-known rig a map joint -> name is of, or nothing."""
    said = {plain(name) for name in bones.values()}
    for kind, table in RIGS.items():
        needed = {table[joint] for joint in NEEDED}
        if needed <= said and (kind not in WHOLE or WHOLE[kind] in said):
            return kind
    return ""


def plain(name: str) -> str:
    """A bone's name without the prefix that Mixamo gives it."""
    return name.rpartition(":")[2]


def by_words(bones: list[str], parents: Mapping[str, str | None]) -> dict[str, str]:
    """Guess from the words in names; of several, the bone nearest to the root."""
    found: dict[str, str] = {}
    spine: list[str] = []
    for name in bones:
        side, word = read(name)
        if not word or OTHERS.search(word):
            continue
        for part, hints in WORDS.items():
            if not any(hint in word for hint in hints):
                continue
            if part == "spine" and not side:
                spine.append(name)
            elif part in LIMBS and side and f"{side}_{part}" in found:
                continue
            elif part in LIMBS and side:
                found[f"{side}_{part}"] = name
            elif part in CENTER and not side:
                found.setdefault(part, name)
            else:
                continue
            break
    if "pelvis" not in found and spine:
        found["pelvis"] = spine.pop(0)
    joints = {1: ("spine3",), 2: ("spine1", "spine3")}.get(len(spine), ("spine1", "spine2"))
    chosen = spine if len(spine) < 3 else [spine[0], spine[len(spine) // 2]]
    found |= dict(zip(joints, chosen, strict=False))
    if len(spine) > 2:
        found["spine3"] = spine[-1]
    return found


def read(name: str) -> tuple[str, str]:
    """The side of a bone, left, right or nothing, and its name in small letters without it."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain(name)).lower()
    parts = [part for part in re.split(r"[\W_]+", text) if part]
    side = ""
    for sign in parts:
        if sign in ("l", "left", "r", "right"):
            side = "left" if sign[0] == "l" else "right"
    word = "".join(part for part in parts if part not in ("l", "r", "left", "right"))
    if not side and word.startswith(("left", "right")):
        side = "left" if word[0] == "l" else "right"
        word = word.removeprefix(side)
    return side, word


def missing(bones: Mapping[str, str]) -> list[str]:
    """Which of the bones that are needed are not chosen, by what artists call them."""
    return [label(joint) for joint in NEEDED if not bones.get(joint)]


def from_lines(text: str) -> dict[str, str]:
    """Read lines such as "left_knee: shin.L". Raises ValueError for a line that is none."""
    bones = {}
    for line in filter(str.strip, text.split("\n")):
        joint, _, name = (part.strip() for part in line.partition(":"))
        if joint not in JOINTS or not name:
            raise ValueError(
                f"{line.strip()!r} is not a joint, a colon and a bone: joints are {JOINTS[0]}, "
                f"{JOINTS[6]} and so on."
            )
        bones[joint] = name
    return bones


def to_lines(bones: Mapping[str, str]) -> str:
    """The opposite of `from_lines`."""
    return "\n".join(f"{joint}: {bones[joint]}" for joint in JOINTS if bones.get(joint))
