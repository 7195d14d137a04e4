"""M6-Edge's training: a small student of a larger network, pruned while it learns."""
