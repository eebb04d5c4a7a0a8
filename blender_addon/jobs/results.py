# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a job's result goes: onto objects, or into a new image.

Neither keeps a datablock, because undo and file load replace those while the engine works.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import bpy

from ..scene import motions, textures
from ..scene.armatures import ArmatureError
from ..scene.textures import Target

Slices = Generator[str, None, str]  # of a motion's making; what is done, and the action's name
OBJECT_MODE = "Waiting for Object Mode"  # what the artist must do first
SLICE_SECONDS = 0.01  # of a tick, in which keys are set
# Modes whose undo steps are those of Object Mode, so that a texture can come while one is there.
OPEN_MODES = {"OBJECT", "TEXTURE_PAINT", "VERTEX_PAINT", "WEIGHT_PAINT"}


class Result(Protocol):
    """What becomes of the file that a job was done for."""

    def waiting(self) -> str:
        """Say what the artist must do first, or nothing; never asked in background."""
        ...

    def amiss(self) -> str:
        """Say why what it is for is not as it was, or nothing if it can be used."""
        ...

    def is_here(self) -> bool:
        """Whether this file has what it is for, by content."""
        ...

    def told(self) -> dict[str, Any]:
        """This as JSON, for `read`."""
        ...

    def apply(self, filepath: Path, *, anyway: bool = False) -> str:
        """Use the file; return what went wrong in one sentence, or nothing."""
        ...


@dataclass(frozen=True)
class OntoObjects:
    """The textures of mesh objects, told in a run's report."""

    targets: Sequence[Target]
    name: str

    def waiting(self) -> str:
        """Applying would throw the artist out of a mode, whose undo history is its own."""
        modes = {obj.mode for target in self.targets if (obj := target.find()) is not None}
        modes |= {mode_of(bpy.context)} if modes else set()
        return OBJECT_MODE if modes - OPEN_MODES else ""

    def amiss(self) -> str:
        there = textures.found(self.targets)
        if not there:
            return f"{self.targets[0].name!r} is not in this file."
        return textures.changes(there)

    def is_here(self) -> bool:
        return any(target.is_here() for target in self.targets)

    def told(self) -> dict[str, Any]:
        return {"kind": "objects", "name": self.name, "targets": textures.to_json(self.targets)}

    def apply(self, filepath: Path, *, anyway: bool = False) -> str:
        try:
            # True: an operator called from a timer pushes its undo step only when told to.
            bpy.ops.syncsde.apply_run(
                "EXEC_DEFAULT",
                True,
                directory=str(filepath.parent),
                targets=textures.to_json(self.targets),
                name=self.name,
                anyway=anyway,
            )
        except RuntimeError as error:
            return sentence(error)
        return ""


@dataclass(frozen=True)
class NewImage:
    """An image of its own, shown in the Image Editor it was asked for in."""

    name: str
    editor: int = 0  # the area's address, or 0

    def waiting(self) -> str:
        return ""

    def amiss(self) -> str:
        return ""

    def is_here(self) -> bool:
        return True

    def told(self) -> dict[str, Any]:
        return {"kind": "image", "name": self.name}

    def apply(self, filepath: Path, *, anyway: bool = False) -> str:
        # Other modes have an undo history of their own, which knows no images.
        undo = bpy.context.mode == "OBJECT"
        try:
            bpy.ops.syncsde.add_image(
                "EXEC_DEFAULT",
                undo,
                filepath=str(filepath),
                name=self.name,
                editor=f"{self.editor:x}",
            )
        except RuntimeError as error:
            return sentence(error)
        return ""


class OntoArmature:
    """A motion of an armature, whose keys are set in slices while Blender's window is used.

    One that was told, not built, is made at once when it is applied.
    """

    def __init__(self, placement: motions.Placement, steps: Slices | None = None) -> None:
        self.placement = placement
        self._steps = steps
        self._error = ""
        self._action = ""

    def waiting(self) -> str:
        """Do a slice, unless the artist is in a mode whose undo history is its own."""
        if bpy.context.mode not in ("OBJECT", "POSE"):
            return OBJECT_MODE
        if self._steps is None:
            return ""
        begun = time.perf_counter()
        try:
            said = next(self._steps)
            while time.perf_counter() - begun < SLICE_SECONDS:
                said = next(self._steps)
        except StopIteration as end:
            self._action = end.value
            return ""
        except KeyError:  # the action was undone meanwhile: the operator makes it at once
            return ""
        except (ArmatureError, OSError, ValueError) as error:
            self._error = sentence(error)
            return ""
        return said

    def amiss(self) -> str:
        return "" if self.is_here() else f"{self.placement.target!r} is not in this file."

    def is_here(self) -> bool:
        try:
            motions.target_of(self.placement)
        except ArmatureError:
            return False
        return True

    def told(self) -> dict[str, Any]:
        return {"kind": "motion", "placement": self.placement.to_json()}

    def apply(self, filepath: Path, *, anyway: bool = False) -> str:
        if self._error:
            return self._error
        try:
            bpy.ops.syncsde.apply_motion(
                "EXEC_DEFAULT",
                True,
                directory=str(filepath.parent),
                placement=self.placement.to_json(),
                action=self._action,
            )
        except RuntimeError as error:
            return sentence(error)
        return ""


def read(told: Mapping[str, Any]) -> Result:
    """A result as it was told. Raises ValueError, KeyError or TypeError."""
    if told["kind"] == "image":
        return NewImage(told["name"])
    if told["kind"] == "motion":
        return OntoArmature(motions.Placement.from_json(told["placement"]))
    return OntoObjects(textures.from_json(told["targets"]), told["name"])


def mode_of(context: bpy.types.Context) -> str:
    """The mode of the active object, as objects name it."""
    return context.object.mode if context.object is not None else "OBJECT"


def leave_mode(context: bpy.types.Context) -> None:
    """Go to Object Mode from a mode in which no texture can come."""
    if mode_of(context) not in OPEN_MODES:
        bpy.ops.object.mode_set(mode="OBJECT")


def sentence(error: Exception) -> str:
    """What an operator reported, without what Blender puts before it."""
    return str(error).removeprefix("Error: ").strip()
