# SPDX-License-Identifier: GPL-3.0-or-later
"""What outlives the process: jobs, their order, and files by content."""
