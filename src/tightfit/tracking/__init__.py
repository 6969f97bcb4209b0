"""Where a run is mirrored to besides its own folder, which stays the source of truth."""
