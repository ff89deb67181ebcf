"""Layers: unpacked onto those below, and packed from what a step changed."""
