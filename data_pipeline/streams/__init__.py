"""From a prepared folder to packed batches, in an order that is arithmetic."""
