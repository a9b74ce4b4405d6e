#!/bin/sh
# The study of docs/family.md on CPUs: BERT's relatives with 4 layers of 128 and students of 2 layers, three seeds, 10
# million tokens a run, then fine-tuned on SST-2, half of QNLI's dev set and parts of speech. The same line goes on with
# a study that was interrupted.
#
#     docs/studies/family.sh <prepared folder> <folder of GLUE> <folder of UD English EWT> <output folder> [override ...]
set -u
if [ $# -lt 4 ]; then
    echo "usage: $0 <prepared folder> <folder of GLUE> <folder of UD English EWT> <output folder> [override ...]" >&2
    exit 2
fi
data=$1 glue=$2 ewt=$3 output=$4
shift 4

small='optimizer.lr:1e-4'
qnli="task:classification,task.path:$glue/QNLI/dev.tsv,task.text:question,task.text_pair:sentence,task.label:label"
tags="task:pos,task.path:$ewt,task.train:en_ewt-ud-train.conllu,task.validation:en_ewt-ud-dev.conllu"

# Heads begin at the neighbors, and short sequences come first, as in docs/recipes.md. A causal model cannot look ahead
# and begins as BERT does. ALBERT's embeddings are as wide as its layers here, so that it can begin at the neighbors.
exec "${PYTHON:-python}" -m bert_lightning.pretrain experiment=ablations/family run_name=family \
    "data.path=$data" "output_dir=$output" data.seq_len=128 data.num_workers=0 data.validation_samples=2500 \
    data.global_batch_size=32 data.micro_batch_size=32 data.validation_micro_batch_size=64 \
    'phases=[{seq_len: 32, global_batch_size: 128, micro_batch_size: 128, share: 0.77}, {seq_len: 128}]' \
    model=bert_tiny model.num_hidden_layers=4 model.initialization=neighbors model.max_position_embeddings=128 \
    model.hidden_dropout_prob=0.0 model.attention_probs_dropout_prob=0.0 \
    optimizer.lr=1.0e-3 'optimizer.betas=[0.9,0.98]' trainer.max_tokens=10_000_000 trainer.val_check_interval=1000 \
    trainer.log_every_n_steps=100 callbacks.checkpoint.every_n_steps=1000 '~callbacks.guesses' logger=csv \
    '+hydra.sweeper.variants.albert={model.embedding_size:null}' \
    '+hydra.sweeper.variants.ltr={model.initialization:bert}' \
    '+hydra.sweeper.variants.distilbert={model.num_hidden_layers:2}' \
    '+hydra.sweeper.variants.tinybert={model.num_hidden_layers:2,model.initialization:bert}' \
    "hydra.sweeper.tasks={sst2:{task.path:$glue,epochs:2,$small},qnli:{$qnli,task.validation_share:0.5,epochs:5,$small},\
tags:{$tags,task.test:en_ewt-ud-test.conllu,epochs:2,$small}}" "$@"
