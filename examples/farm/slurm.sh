#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A manifest as a SLURM array: 16 parts, each on one GPU. Submit, then the page that tells of all:
#
#   job=$(sbatch --parsable slurm.sh assets.jsonl out)
#   sbatch --dependency=afterany:$job --wrap 'syncsde batch assets.jsonl --output out --report'
#
# Submitted again, it makes only what is missing, what has failed, and what is asked otherwise.
#SBATCH --job-name=syncsde
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue

set -eu
# exec: SLURM's signal is to reach the program, not this shell.
exec syncsde batch "$1" --output "$2" --retry-failed \
    --chunk "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
