#!/usr/bin/env bash
# Measure what only a GPU can say, the most telling first, in the time there is:
#
#     docs/benchmarks/gpu_session.sh SECONDS [OUT]
#
# Goes through the queue of gpu_session/steps.py. A step that no longer fits is not begun, one that takes too long is stopped,
# and one whose answer lies in docs/benchmarks/ for this card, this torch and this code is passed over. After each step there
# is a line on the screen, and OUT (outputs/gpu-session if not given) is up to date, so that being stopped loses only the step
# under way. OUT has at most 8 files of at most 16 MiB: results.tar.gz, table.md, log.txt, traces of profiles, and at the end
# kernels.tar.gz, the cache of compiled kernels. The table is also the last thing printed, in at most 12,000 characters.
#
#     tar -xzf OUT/results.tar.gz -C docs/benchmarks     # a folder with date and card: commit it
#
# Needs Python with torch >= 2.11, lightning, transformers, matplotlib, rich and pytest with pytest-xdist. Variables:
#     WHEELS=<folder>   what that Python lacks: wheels that gpu_session/wheels.sh has fetched
#     KERNELS=<file>    a kernels.tar.gz of an earlier session with the same versions
#     REPEAT=<names>    steps to measure though their answers are known, or all
#     ONLY=<names>      the steps to take, in this order, and no other
#     COMMIT=<hash>     the commit, if the checkout has no .git
#     DRY=1             go through all of it on a CPU, with tiny models
set -eu
seconds=${1:?"how many seconds are there? docs/benchmarks/gpu_session.sh SECONDS [OUT]"}
case $seconds in *[!0-9]* | '') echo "SECONDS=$seconds is not a whole number" >&2; exit 2 ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${TMPDIR:-/tmp}/gpu-session${DRY:+-dry}
python=${PYTHON:-python3}
mkdir -p "$work"
export PYTHONPATH="$root:$root/docs/benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR="$work/kernels/inductor" TRITON_CACHE_DIR="$work/kernels/triton"
if [ -n "${WHEELS:-}" ]; then
    $python -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$work/site" "$WHEELS"/*.whl
    export PYTHONPATH="$PYTHONPATH:$work/site"
fi
if [ -n "${KERNELS:-}" ]; then tar -xzf "$KERNELS" -C "$work"; fi
exec $python -m gpu_session $((seconds - SECONDS)) "${2:-outputs/gpu-session}" "$work"
