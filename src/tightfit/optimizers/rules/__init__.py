"""Update rules of backpropagation: how a gradient becomes a step. One file each, with its state's bytes beside it."""
