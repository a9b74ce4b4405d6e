"""From text to a prepared folder, in resumable tasks."""
