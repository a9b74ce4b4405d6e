#!/usr/bin/env bash
# Everything that only a GPU can say, in four pieces of under ten minutes each (H200; about 25 minutes together):
#
#     docs/benchmarks/gpu_session.sh tests|bf16|fp8|variants [OUT]
#
# Run in the root of a checkout. OUT (default docs/benchmarks/<date>-<gpu>) gets a JSON file and a chart for each run, the
# log, the profile pages, about.txt, and one archive of it all, <piece>.tar.gz. A run that fails or takes too long is named at
# the end; the others go on. Where the checkout has no .git, COMMIT=<hash> says which commit it is.
#
# Needs Python with torch >= 2.11, lightning, transformers, tokenizers, matplotlib, pytest, and these, which may be missing on
# a machine without a network. Fetch their wheels elsewhere into a folder that travels with the checkout and is ignored by git,
# and name it: WHEELS=<folder> docs/benchmarks/gpu_session.sh ... installs from there, into a folder of its own.
#     pip wheel --no-deps -w <folder> hydra-core omegaconf antlr4-python3-runtime==4.9.3 webdataset braceexpand torchao
#
# DRY=1 goes through all of it on a CPU with tiny sizes; tests/test_gpu_session.py does that.
set -u
piece=${1:?"which piece? tests, bf16, fp8 or variants"}
python=${PYTHON:-python3}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 HYDRA_FULL_ERROR=0
if [ -n "${WHEELS:-}" ]; then
    $python -m pip install -q --no-index --no-deps --no-compile --upgrade --target "${TMPDIR:-/tmp}/gpu-session-site" "$WHEELS"/*.whl || exit 1
    export PYTHONPATH=$PWD:${TMPDIR:-/tmp}/gpu-session-site
fi
gpu=$($python -c 'import torch; print(torch.cuda.get_device_name().replace(" ", "-") if torch.cuda.is_available() else "cpu")')
out=${2:-docs/benchmarks/$(date +%F)-$gpu}
mkdir -p "$out" && out=$(cd "$out" && pwd)
{
    echo "$(date -u +%FT%TZ) commit ${COMMIT:-$(git describe --always --dirty 2>/dev/null || echo unknown)}"
    echo "$0 $*"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
    $python -m pip list 2>/dev/null | grep -i -E '^(torch|torchao|triton|transformers|lightning|numpy|tokenizers) '
} >>"$out/about.txt"
failed=()

run() {  # name, seconds at most, command: its output goes to the log, and its last line on failure to the screen
    local name=$1 limit=$2 begin=$SECONDS
    shift 2
    echo "== $name: $*" >>"$out/$piece.log"
    if timeout "$limit" "$@" >>"$out/$piece.log" 2>&1; then
        echo "$name: $((SECONDS - begin)) s"
    else
        failed+=("$name")
        echo "$name: FAILED after $((SECONDS - begin)) s: $(tail -n 1 "$out/$piece.log")"
    fi
}

measure() {  # name, settings of bert-benchmark
    local name=$1
    shift
    run "$name" 140 $python -m bert_lightning.benchmark "output=$out/$name.json" "chart=$out/$name.png" "${common[@]}" "$@"
}

pretrain() {  # name, settings of bert-pretrain: sixty steps with the loader running, and a profile of five
    local name=$1
    shift
    run "$name" 150 $python -m bert_lightning.pretrain data.path="$corpus" output_dir="$out/runs" run_name="$name" logger=csv \
        callbacks=profile callbacks.checkpoint.every_n_steps=1000000 trainer.limit_val_batches=0 "${training[@]}" "$@"
    mkdir -p "$out/profiles/$name"
    cp "$out/runs/$name/metrics.csv" "$out/runs/$name/profile/"summary.* "$out/profiles/$name/" 2>>"$out/$piece.log"
    rm -rf "$out/runs"
}

# 64k tokens of room in a micro-batch; half of it is real at MLPerf's lengths.
at128="data.seq_len=128 data.micro_batch_size=512"
at512="data.seq_len=512 data.micro_batch_size=128"
common=(accelerator=gpu lengths=mlperf part.repeats=8 part.steps=4 data.num_workers=8)
training=(trainer.max_steps=60 trainer.log_every_n_steps=20 trainer.accelerator=gpu data.num_workers=8)
step_at128=512 step_at512=128 graphs=cuda_graphs whole=compile=model
corpus=${TMPDIR:-/tmp}/gpu-session-corpus million_tokens=16
large=bert_large base=bert_base fp8=fp8
if [ -n "${DRY:-}" ]; then
    at128="data.seq_len=32 data.micro_batch_size=8" at512="data.seq_len=64 data.micro_batch_size=8"
    common=(accelerator=cpu lengths=mlperf part.repeats=2 part.num_batches=1 data.num_workers=0 model.vocab_size=600)
    training=(trainer.max_steps=3 trainer.log_every_n_steps=1 trainer.accelerator=cpu data.num_workers=0
        callbacks.profile.skip_steps=1 callbacks.profile.num_steps=1)
    corpus=$out/corpus million_tokens=1 large=bert_tiny base=bert_tiny fp8=bf16-mixed
    step_at128=8 step_at512=8 graphs=none whole="compile=model compile.backend=eager"
fi
full_rows="lengths=full" no_dropout="model.hidden_dropout_prob=0 model.attention_probs_dropout_prob=0"

case $piece in
tests)  # 6 minutes: kernels, compiled graphs, CUDA graphs, fp8, no waiting; then the first look at the main figures
    run tests 360 $python -m pytest -q -m gpu -p no:cacheprovider tests/test_on_gpu.py tests/test_attention.py
    measure large-512-alone model=$large $at512 baseline=none
    measure base-512-alone model=$base $at512 baseline=none
    ;;
bf16)  # 9 minutes: beside transformers, eager and compiled, on the same half-padded examples
    measure large-512 model=$large $at512 baseline=hf part.steps=2
    measure base-512 model=$base $at512 baseline=hf
    measure base-128 model=$base $at128 baseline=hf
    measure large-128 model=$large $at128 baseline=hf part.steps=2
    ;;
fp8)  # 8 minutes: ours in fp8, on full rows, and without dropout
    for model in $large $base; do
        short=${model#bert_}
        measure $short-512-fp8 model=$model $at512 baseline=none precision=$fp8
        measure $short-128-fp8 model=$model $at128 baseline=none precision=$fp8
        measure $short-512-full model=$model $at512 baseline=none $full_rows
        measure $short-128-full model=$model $at128 baseline=none $full_rows
        measure $short-512-no-dropout model=$model $at512 baseline=none $no_dropout
        measure $short-512-no-attention-dropout model=$model $at512 baseline=none model.attention_probs_dropout_prob=0
    done
    ;;
variants)  # 8 minutes: ways to compile, scores in chunks, and whole runs with the loader and a profile
    measure large-512-uncompiled model=$large $at512 baseline=none compile=none
    measure large-512-fixed-shapes model=$large $at512 baseline=none compile.dynamic=false
    measure large-512-whole model=$large $at512 baseline=none $whole
    measure base-128-cuda-graphs model=$base $at128 baseline=none compile=$graphs
    measure large-512-chunks model=$large $at512 baseline=none objective.chunk_rows=2048
    run corpus 100 $python docs/benchmarks/made_up_corpus.py "$corpus" $million_tokens
    pretrain run-large-512 model=$large $at512 data.global_batch_size=$step_at512
    pretrain run-base-128 model=$base $at128 data.global_batch_size=$step_at128
    pretrain run-large-512-fp8 model=$large $at512 data.global_batch_size=$step_at512 trainer.precision=$fp8
    ;;
*)
    echo "piece=$piece is none of tests, bf16, fp8, variants" >&2
    exit 2
    ;;
esac

$python docs/benchmarks/figures.py "$out"
tar -czf "$out/$piece.tar.gz" -C "$out" $(cd "$out" && ls | grep -v -e '\.tar\.gz$' -e '^corpus$')
echo "${#failed[@]} failed: ${failed[*]:-none}. All of it: $out/$piece.tar.gz"
[ ${#failed[@]} -eq 0 ]
