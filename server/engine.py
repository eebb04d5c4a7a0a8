# SPDX-License-Identifier: GPL-3.0-or-later
"""The running engine, as the routes of the HTTP interface see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .blobs import BlobStore
from .changes import Changes
from .jobs import Jobs
from .leases import Leases
from .metrics import Metrics
from .models import Models
from .room import Room
from .supervisor import Supervisor

Content = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """The parts that the routes speak to."""

    instance: str
    device: str
    jobs: Jobs
    store: BlobStore
    room: Room
    models: Models
    supervisor: Supervisor
    leases: Leases
    changes: Changes
    metrics: Metrics | None = None
