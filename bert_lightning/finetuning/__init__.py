"""Fine-tuning: tasks with their heads, scores and predictions, and the protocol of seeds and grids."""
