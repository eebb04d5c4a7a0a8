# SPDX-License-Identifier: GPL-3.0-or-later
"""What a finished motion is written as, and the figures that say how good it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import pictures
from ..motion import bvh, glb, metrics
from ..motion.features import decode
from ..motion.fit import Fit, fit
from ..motion.limbs import lock_feet
from ..motion.place import placed
from ..motion.rotations import continuous, to_quaternions
from ..motion.sequence import Layout
from ..motion.skeleton import FPS
from . import Artifacts
from .motion_sheet import sheet
from .motion_states import Anchor


def body(features: np.ndarray, anchor: Anchor, foot_lock: bool) -> Fit:
    """Joints in the world, feet held if asked for, and constant bones fitted to them."""
    joints = placed(decode(features), anchor.x, anchor.z, anchor.yaw)
    return fit(lock_feet(joints) if foot_lock else joints)


def files(
    motion: Fit, features: np.ndarray, layout: Layout, prompts: Sequence[str], title: str
) -> Artifacts:
    """motion.bvh, motion.npz, motion.glb and contact_sheet.png."""
    joints = motion.joints()
    return {
        "motion.bvh": bvh.write(motion).encode(),
        "motion.npz": arrays(motion, joints, features, layout, prompts),
        "motion.glb": glb.write(motion),
        "contact_sheet.png": pictures.png(sheet(joints, layout, prompts, title)),
    }


def arrays(
    motion: Fit,
    joints: np.ndarray,
    features: np.ndarray,
    layout: Layout,
    prompts: Sequence[str],
) -> bytes:
    """Everything for programs, float32: meters, y up; quaternions as w, x, y, z."""
    content = io.BytesIO()
    np.savez(
        content,
        joints=joints.astype(np.float32),
        rotations=continuous(to_quaternions(motion.rotations)).astype(np.float32),
        root=motion.root.astype(np.float32),
        offsets=motion.offsets.astype(np.float32),
        features=features,
        prompts=np.array(prompts),
        ranges=np.array([layout.own(i) for i in range(layout.count)]),
        fps=np.array(FPS),
    )
    return content.getvalue()


def figures(
    features: np.ndarray, layout: Layout, foot_lock: bool, ordinary: float | None = None
) -> dict[str, Any]:
    """Jerk at seams and inside of segments, feet and bones, of a whole motion (T, 263).

    Jerk is in meters a frame^3, everything else in meters and shares. `ordinary` is the jerk that
    areas are counted from; default: the motion's own outside of seams.
    """
    joints = decode(features)
    seams = [layout.seam(segment) for segment in range(layout.count - 1)]
    if ordinary is None:
        ordinary = metrics.jerk_inside(joints, seams)
    each = [metrics.seam(joints, begin, end, ordinary) for begin, end in seams]
    fitted = fit(joints).joints()
    told: dict[str, Any] = {
        "jerk_inside": metrics.jerk_inside(joints, seams),
        "peak_jerk": [seam.peak for seam in each],
        "area_of_jerk": [seam.area for seam in each],
        "skate": metrics.skate(fitted),
        "bone_spread": metrics.bone_spread(joints),
        "bone_spread_fitted": metrics.bone_spread(fitted),
    }
    if foot_lock:
        told["skate_locked"] = metrics.skate(fit(lock_feet(joints)).joints())
    return told
