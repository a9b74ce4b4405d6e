"""What happens around the steps of a run: saving, measuring, showing, stopping. One concern a file."""
