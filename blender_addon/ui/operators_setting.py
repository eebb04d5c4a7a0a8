# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators that take a number over from the model, or give it back, and roll the dice."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
import secrets
from typing import TYPE_CHECKING

import bpy
from bpy.props import StringProperty

from ..properties import sampling

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


MOST_SEEDS = 10000  # of the dice: short enough to be read out


class SYNCSDE_OT_own_setting(bpy.types.Operator):
    """Choose this value yourself, or leave it to the model again"""

    bl_idname = "syncsde.own_setting"
    bl_label = "Choose Value"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    group: StringProperty(name="Group", description="Path of the settings in the scene")
    name: StringProperty(name="Setting", description="Name of the setting")

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        settings, unset = context.scene.path_resolve(self.group), sampling.UNSET[self.name]
        rna = settings.bl_rna.properties[self.name]
        if getattr(settings, self.name) != unset:
            value = unset
        else:
            # One tile is the whole picture on objects; in images sizes are pixels.
            pixels = self.name == "tile_size" and rna.type == "INT"
            value = 256 if pixels else sampling.CHOSEN[self.name]
        setattr(settings, self.name, type(rna.default)(value))
        return {"FINISHED"}


class SYNCSDE_OT_new_seed(bpy.types.Operator):
    """Roll the dice: another seed, another result"""

    bl_idname = "syncsde.new_seed"
    bl_label = "New Seed"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    group: StringProperty(name="Group", description="Path of the settings in the scene")

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        context.scene.path_resolve(self.group).seed = secrets.randbelow(MOST_SEEDS)
        return {"FINISHED"}


CLASSES = (SYNCSDE_OT_own_setting, SYNCSDE_OT_new_seed)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
