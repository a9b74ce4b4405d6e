"""What others wrote, read with limits and printed without effect; and private names of libraries."""
