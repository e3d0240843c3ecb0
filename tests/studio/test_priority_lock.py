"""The most urgent request is the decoder's next, and a new decoder begins at once."""

import subprocess
import sys
import threading

import pytest

from masklet.studio.inference.decoder import PriorityLock, Urgency


def test_a_click_goes_before_thumbnails_and_thumbnails_in_the_order_of_frames() -> None:
    lock = PriorityLock()
    order: list[tuple[Urgency, int]] = []

    def take(urgency: Urgency, frame: int) -> None:
        with lock.hold(urgency, frame):
            order.append((urgency, frame))

    waiting = [(Urgency.thumbnail, 40), (Urgency.thumbnail, 8), (Urgency.image, 9), (Urgency.model, 30)]
    threads = [threading.Thread(target=take, args=request) for request in waiting]
    with lock.hold():
        for thread in threads:
            thread.start()
        while lock.waiting < len(waiting):
            assert all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join(10)
    assert order == sorted(waiting)


@pytest.mark.slow
def test_the_kinds_of_images_are_read_before_decoders_are_forked() -> None:
    code = """
import PIL.Image
import masklet.studio.inference.decoder
known = len(PIL.Image.OPEN)
PIL.Image.init()
print(known == len(PIL.Image.OPEN))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"
