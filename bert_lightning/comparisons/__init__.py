"""Whether two fine-tuned models differ, judged by the predictions that they left behind."""
