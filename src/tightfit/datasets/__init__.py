"""Data sets: raw bytes → tensors, checked by sha256. One file each; nothing is downloaded at import."""
