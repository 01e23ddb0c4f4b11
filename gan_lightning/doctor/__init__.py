"""The data doctor: what a data set holds, and what about it will hurt a training."""
