#!/usr/bin/env bash
# Fetch what a GPU machine without a network lacks, for Python 3.12 on Linux x86-64:
#
#     docs/benchmarks/gpu_session/wheels.sh FOLDER
#
# The versions are in wheels.txt. The folder, which git should ignore, and the checkout may have 64 MiB together.
set -eu
folder=${1:?"which folder? docs/benchmarks/gpu_session/wheels.sh FOLDER"}
list=$(dirname "$0")/wheels.txt
python=${PYTHON:-python3}
mkdir -p "$folder"
# A source archive becomes a wheel; the others are taken as they are, for the other machine's Python.
$python -m pip wheel -q --no-deps -w "$folder" $(grep '^antlr4' "$list")
$python -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 -d "$folder" $(grep -v -e '^#' -e '^antlr4' "$list")
wanted=$(grep -c -v '^#' "$list") found=$(ls "$folder"/*.whl | wc -l)
[ "$wanted" -eq "$found" ] || { echo "$folder has $found wheels, wheels.txt names $wanted: two versions of one?" >&2; exit 1; }
kibibytes=$(du -sk "$folder" | cut -f1)
[ "$kibibytes" -lt 61440 ] || { echo "$folder has $((kibibytes / 1024)) MiB: too much to travel" >&2; exit 1; }
echo "$found wheels, $kibibytes KiB"
