"""The sizes of the tiny model, and settings of tiny runs of bert-pretrain."""

Settings = dict[str, object]

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
TINY: Settings = {
    "model": "bert_tiny",
    **{f"model.{name}": size for name, size in SIZES.items()},
    "data.seq_len": 48,
    "data.global_batch_size": 32,
    "data.micro_batch_size": 8,
    "data.num_workers": 0,
    "optimizer.lr": 3e-3,
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "trainer.max_steps": 14,
    "trainer.log_every_n_steps": 3,
    "trainer.val_check_interval": 5,
    "callbacks.checkpoint.every_n_steps": 5,
    "callbacks.throughput.peak_flops": 1e12,
    "logger": "csv",
}
NO_DROPOUT = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}
WATCH = {
    "callbacks": "audit",
    "callbacks.watchdog.interval_seconds": 0.3,
    "callbacks.watchdog.silent_seconds": 4,
    "callbacks.watchdog.stuck_seconds": 60,
    "callbacks.checkpoint.every_n_steps": 3,
    "callbacks.checkpoint.keep_last": 3,
    "data.micro_batch_size": 16,
    "trainer.log_every_n_steps": 1,
    "trainer.val_check_interval": 1000,
}
"""A digest of every step, checkpoints often, and a watchdog that is soon impatient."""


def overrides(settings: Settings) -> list[str]:
    """Return settings as arguments of a command; `~key` removes a key."""
    return [
        name if name[0] == "~" else f"{name}={'null' if value is None else value}" for name, value in settings.items()
    ]
