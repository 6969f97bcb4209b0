"""How the slopes of a zeroth-order step, and the directions they were taken along, become a move of the weights."""
