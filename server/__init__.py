# SPDX-License-Identifier: GPL-3.0-or-later
"""The local engine process: HTTP interface, durable jobs, worker. No torch in the interface."""
