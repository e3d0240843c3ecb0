"""Masks out, in the forms that people use: a file for each form, and `formats` names them."""
