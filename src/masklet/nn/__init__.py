"""The network's modules. They keep no state between calls, and do not depend on files, objects or time.

A file for each box of the paper's figure: `image_encoder.py` over `trunks/`, `memory_attention.py`,
`prompt_encoder.py`, `mask_decoder.py` and `memory_encoder.py`. They share `layers.py`.
"""
