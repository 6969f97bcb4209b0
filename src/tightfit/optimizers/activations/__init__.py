"""What autograd keeps of a forward pass for the backward pass. One file each, with its bytes beside it."""
