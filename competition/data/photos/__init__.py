"""From bytes to pixels to views, and the cache of resized photos."""
