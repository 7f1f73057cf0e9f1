"""Figures, overlays and grids: the lowest room that draws."""
