# SPDX-License-Identifier: GPL-3.0-or-later
"""The running engine, as the routes of the HTTP interface see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..models import Models
from ..store.blobs import BlobStore
from ..store.changes import Changes
from ..store.jobs import Jobs
from ..store.leases import Leases
from ..store.space import Room
from ..work.supervisor import Supervisor
from .metrics import Metrics

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
