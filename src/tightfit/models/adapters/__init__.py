"""Small trained parts beside frozen weights. One file each."""
