"""Pages, tiles, thumbnails, charts; the baselines use them too."""
