# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error a user can meet: a stable code, what was wrong with its value, and what to do.

SyncSDEError
  InvalidRequest(field)   a parameter, file or output folder that the caller can correct
  InvalidMesh             geometry that cannot be textured
  MissingWeights          a model folder that is not there or not complete
  DeviceUnavailable       a device or backend that was asked for by name is not there
  OutOfMemory             with the setting to lower
  NumericalFailure        a state that is not finite, stopped at once
"""


class SyncSDEError(Exception):
    """Base of the tree. `str(error)` is one sentence: what is wrong, its value, and the remedy."""

    code = "internal"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
        self.field = field

    def as_dict(self) -> dict[str, str | None]:
        """The wire's one shape of an error: code, message, hint, field."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "field": self.field,
        }


class InvalidRequest(SyncSDEError):
    code = "invalid_request"
    exit_code = 2


class InvalidMesh(SyncSDEError):
    code = "invalid_mesh"
    exit_code = 2


class MissingWeights(SyncSDEError):
    code = "missing_weights"
    exit_code = 3


class DeviceUnavailable(SyncSDEError):
    code = "device_unavailable"
    exit_code = 3


class OutOfMemory(SyncSDEError):
    code = "out_of_memory"
    exit_code = 4


class NumericalFailure(SyncSDEError):
    code = "numerical_failure"
    exit_code = 1
