"""What random directions are made of, as choices. One file each, with what moving along them holds."""
