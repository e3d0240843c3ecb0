"""Exported networks in ONNX Runtime. It needs NumPy, Pillow and onnxruntime, and no torch."""
