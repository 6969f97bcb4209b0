"""One model, trained by many unreliable devices that send numbers of seeds and slopes, and nothing else."""
