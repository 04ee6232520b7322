"""Find nearest neighbours by cosine: exactly in memory, exactly in blocks on disk, or approximately."""
