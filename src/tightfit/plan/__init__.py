"""What fits where: memory and step cost of any model by any method on any device, from plain numbers."""
