# SPDX-License-Identifier: GPL-3.0-or-later
"""The job that runs: what it asks, its steps between redraws, and what becomes of its result."""
