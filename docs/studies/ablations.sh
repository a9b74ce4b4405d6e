#!/bin/sh
# The study of docs/ablations.md on CPUs: sentence tasks, masking kinds, masking rates and model sizes, three seeds each,
# about 5 million tokens a run. The same line goes on with a study that was interrupted.
#
#     docs/studies/ablations.sh <prepared folder> <output folder> [override ...]
#
# Overrides go to every ablation, such as hydra.sweeper.seeds=1 or 'hydra.sweeper.tasks={sst2:<folder of GLUE>}'.
set -u
if [ $# -lt 2 ]; then
    echo "usage: $0 <prepared folder> <output folder> [override ...]" >&2
    exit 2
fi
data=$1 output=$2
shift 2

# 2 layers of 128 with the recipe of docs/recipes.md, which leaves the plateau in the first million tokens: short
# sequences first, heads that begin at the neighbors. A run of 77% of its steps on 32 tokens and the rest on 128.
study() {
    name=$1
    shift
    "${PYTHON:-python}" -m bert_lightning.pretrain "experiment=ablations/$name" "run_name=$name" \
        "data.path=$data" "output_dir=$output" data.seq_len=128 data.num_workers=1 data.validation_samples=2500 \
        data.global_batch_size=32 data.micro_batch_size=32 data.validation_micro_batch_size=64 \
        'phases=[{seq_len: 32, global_batch_size: 64, micro_batch_size: 64, share: 0.77}, {seq_len: 128}]' \
        model=bert_tiny model.initialization=neighbors model.max_position_embeddings=128 \
        model.initializer_range=0.06 model.hidden_dropout_prob=0.0 model.attention_probs_dropout_prob=0.0 \
        optimizer.lr=2.0e-3 'optimizer.betas=[0.9,0.98]' trainer.max_tokens=5_000_000 trainer.val_check_interval=1000 \
        trainer.log_every_n_steps=100 callbacks.checkpoint.every_n_steps=1000 '~callbacks.guesses' logger=csv "$@"
    ended=$?
    [ "$ended" -lt 128 ] || exit "$ended" # a signal ends the study
    [ "$ended" -eq 0 ] || status=$ended
}

status=0
study sentence_task '+hydra.sweeper.variants.ltr={model.initialization:bert}' "$@" # it cannot look ahead
study masking_kind "$@"
study masking_rate "$@"
# 2 x 128, 4 x 256 and 4 x 128. 4 x 256 ends worse than guessing by frequency with the start and the rate of the others.
study model_size '~hydra.sweeper.variants.small' '~hydra.sweeper.variants.medium' '~hydra.sweeper.variants.base' \
    '+hydra.sweeper.variants.mini={model:bert_mini,model.initializer_range:0.02,optimizer.lr:1.0e-3}' \
    '+hydra.sweeper.variants.tiny_of_4_layers={model:bert_tiny,model.num_hidden_layers:4}' "$@"
exit "$status"
