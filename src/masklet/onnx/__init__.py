"""Exported networks in ONNX Runtime. It needs NumPy, Pillow and onnxruntime, and no torch.

Example:
    import masklet.onnx as masklet          # after `masklet export onnx nano --out nano-onnx`

    tracker = masklet.Tracker("nano-onnx")
    masks = tracker.step(image, {1: masklet.Prompt(positive=[(320, 180)])})
    masks = tracker.step(next_image)        # masks[1] is bool (H, W)
"""

from masklet.onnx.image import ImageSession
from masklet.onnx.masks import ImageCandidates, Masks
from masklet.onnx.network import Network
from masklet.onnx.tracker import Tracker, track
from masklet.prompts import Prompt

__all__ = ["ImageCandidates", "ImageSession", "Masks", "Network", "Prompt", "Tracker", "track"]
