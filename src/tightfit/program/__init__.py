"""Programs that train on a device: made, checked, driven and scored."""
