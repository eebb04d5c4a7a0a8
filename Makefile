# SPDX-License-Identifier: GPL-3.0-or-later
# Every target installs what it needs into .venv first. On Windows: py -3.11 tools/dev.py TARGET

USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 13)))
PYTHON ?= $(shell for python in python3.11 python3.13 python3; do \
	"$$python" -c '$(USABLE)' 2>/dev/null && echo "$$python" && break; done)

demo test quick coverage check docs extension repository setup:
ifeq ($(strip $(PYTHON)),)
	@echo "SyncSDE needs Python 3.11 or 3.13 (with venv), the versions that Blender's bpy package is made for, and found neither." >&2; exit 1
else
	@$(PYTHON) tools/dev.py $@
endif

.PHONY: demo test quick coverage check docs extension repository setup
