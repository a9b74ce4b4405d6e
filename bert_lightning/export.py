"""bert-export: a checkpoint of a run, of whatever strategy, becomes a Hugging Face folder."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import shutil
from pathlib import Path

from omegaconf import DictConfig

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.checkpoints.tensor_names import architecture
from bert_lightning.settings.cli import entry_point


def export(cfg: DictConfig) -> Path:
    """Write `output_dir`, which appears whole or not at all.

    Raises:
        ValueError: if the checkpoint cannot be read or the folder is not empty.
    """
    output = Path(cfg.output_dir).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output_dir={cfg.output_dir} exists and is not empty; choose another folder or remove it")
    pretrained = load_pretrained(cfg.checkpoint)
    if pretrained.tokenizer_files:
        pretrained.tokenizer()  # one that cannot be read is no use to those who load the export
    partial = output.parent / f".{output.name}.exporting"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write_folder(partial, pretrained.config, pretrained.state, pretrained.tokenizer_files, pretrained.head)
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    loader = architecture(pretrained.state, pretrained.head)
    print(f"{cfg.output_dir}: load it with transformers' {loader} and AutoTokenizer")
    return output


main = entry_point("export", export)

if __name__ == "__main__":
    main()
