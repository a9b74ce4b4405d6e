"""The parts of bert-benchmark: what is measured, beside what, on which machine."""
