"""Fused forms of the losses, for one accelerator each: same results."""
