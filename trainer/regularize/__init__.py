"""What keeps a network from learning its rows by heart: mixup, cutout, attacks in training."""
