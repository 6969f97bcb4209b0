"""Small trained parts beside frozen weights."""
