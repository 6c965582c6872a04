"""The optimizers that `train.optimizer` names, with clipping and averaged weights."""
