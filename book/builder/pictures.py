"""Pictures of a page in a palette of 256 colours, a third of the size of those that matplotlib writes."""

__all__ = ["in_palette", "with_small_pictures"]

import base64
import copy
import io

import nbformat
from PIL import Image

_PNG = "image/png"


def with_small_pictures(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its pictures in a palette."""
    page = copy.deepcopy(notebook)
    for data in (output.get("data", {}) for cell in page.cells for output in cell.get("outputs", [])):
        if _PNG in data:
            data[_PNG] = base64.b64encode(in_palette(base64.b64decode(data[_PNG]))).decode()
    return page


def in_palette(picture: bytes) -> bytes:
    """A picture in the 256 colours that suit it best, without dithering, which would make flat areas grainy.

    What sees through, or would not become smaller, stays as it is.

    Args:
        picture: a file of PNG.
    """
    image = Image.open(io.BytesIO(picture))
    if image.mode not in ("RGB", "RGBA") or (image.mode == "RGBA" and image.getextrema()[3][0] < 255):
        return picture
    reduced = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    written = io.BytesIO()
    resolution = {"dpi": image.info["dpi"]} if "dpi" in image.info else {}
    reduced.save(written, "PNG", optimize=True, **resolution)
    return min(picture, written.getvalue(), key=len)
