"""Writers of masks: one module for each group of formats; `formats` lists them by name."""
