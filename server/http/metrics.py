# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures for Prometheus, off unless asked for; needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncsde_engine.errors import DeviceUnavailable

from ..store.blobs import BlobStore


class Metrics:
    """Figures of one engine, read anew at every visit. Raises DeviceUnavailable without library."""

    def __init__(self, store: BlobStore) -> None:
        try:
            import prometheus_client
        except ImportError:
            raise DeviceUnavailable(
                "--metrics needs the package prometheus-client.",
                hint="Install it: pip install 'syncsde[metrics]'.",
                field="metrics",
            ) from None
        self._library = prometheus_client
        self._store = store
        self._registry = prometheus_client.CollectorRegistry()
        gauge = prometheus_client.Gauge
        self._jobs = gauge("syncsde_jobs", "Jobs by state", ["state"], registry=self._registry)
        self._figures = {
            name: gauge(f"syncsde_{name}", about, registry=self._registry)
            for name, about in {
                "worker_ready": "1 if the worker takes jobs",
                "worker_restarts": "Workers started after the first",
                "supervisor_age_seconds": "Since the supervisor gave a sign of life",
                "stored_bytes": "Size of all blobs",
                "free_bytes": "Free space of the state folder's disk",
            }.items()
        }

    def text(self, counts: Mapping[str, int], state: Mapping[str, Any]) -> tuple[bytes, str]:
        """The figures in Prometheus' format, and its content type."""
        for name, count in counts.items():
            self._jobs.labels(name).set(count)
        figures = {
            "worker_ready": int(state["worker"] == "ready"),
            "worker_restarts": state["worker_restarts"],
            "supervisor_age_seconds": state["supervisor_age"],
            "stored_bytes": self._store.used_bytes(),
            "free_bytes": self._store.free_bytes(),
        }
        for name, value in figures.items():
            self._figures[name].set(value)
        return self._library.generate_latest(self._registry), self._library.CONTENT_TYPE_LATEST
