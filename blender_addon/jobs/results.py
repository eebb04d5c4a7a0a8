# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a job's result goes: onto objects, or into a new image.

Neither keeps a datablock, because undo and file load replace those while the engine works.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import bpy

from ..scene import motions, textures
from ..scene.armatures import ArmatureError, Figure
from ..scene.textures import Target

SLICE_SECONDS = 0.01  # of a tick, in which keys are set


class Result(Protocol):
    """What becomes of the file that a job was done for."""

    def waiting(self) -> str:
        """Say what the artist must do first, or nothing; never asked in background."""
        ...

    def apply(self, filepath: Path) -> str:
        """Use the file; return what went wrong in one sentence, or nothing."""
        ...


@dataclass(frozen=True)
class OntoObjects:
    """The textures of mesh objects, told in a run's report."""

    targets: Sequence[Target]
    name: str

    def waiting(self) -> str:
        """Applying would throw the artist out of a mode, whose undo history is its own."""
        found = [obj for target in self.targets if (obj := target.find()) is not None]
        busy = any(bpy.context.mode != "OBJECT" or obj.mode != "OBJECT" for obj in found)
        return "Waiting for Object Mode" if busy else ""

    def apply(self, filepath: Path) -> str:
        try:
            # True: an operator called from a timer pushes its undo step only when told to.
            bpy.ops.syncsde.apply_run(
                "EXEC_DEFAULT",
                True,
                directory=str(filepath.parent),
                targets=textures.to_json(self.targets),
                name=self.name,
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

    def apply(self, filepath: Path) -> str:
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
    """A motion of an armature, whose keys are set in slices while Blender's window is used."""

    def __init__(
        self, folder: Path, placement: motions.Placement, known: Figure | None = None
    ) -> None:
        self.placement = placement
        self._steps = motions.build(folder, placement, known)
        self._error = ""
        self._action = ""

    def waiting(self) -> str:
        """Do a slice, unless the artist is in a mode whose undo history is its own."""
        if bpy.context.mode not in ("OBJECT", "POSE"):
            return "Waiting for Object Mode"
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

    def apply(self, filepath: Path) -> str:
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


def sentence(error: Exception) -> str:
    """What an operator reported, without what Blender puts before it."""
    return str(error).removeprefix("Error: ").strip()
