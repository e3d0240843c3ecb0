"""The recipes that come with masklet. Each states its command, its cost and its expected score."""

from types import MappingProxyType

RECIPES = MappingProxyType(  # name -> module and function in this package; modules are imported when needed
    {
        "eight_gpus": ("finetune", "eight_gpus"),
        "finetune": ("finetune", "recipe"),
        "images": ("finetune", "images"),
        "lora": ("finetune", "lora"),
        "mae": ("mae", "recipe"),
        "nano": ("nano", "recipe"),
    }
)
