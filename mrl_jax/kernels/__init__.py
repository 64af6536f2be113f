"""Fast and small-memory forms of the losses: same results, measured costs."""
