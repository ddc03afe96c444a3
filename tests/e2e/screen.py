# SPDX-License-Identifier: Apache-2.0
"""Reading text off a machine's display.

Two kinds of display, two ways:

*VGA text mode* holds characters, so :func:`vga_lines` reads them from video memory. Linux's vgacon
scrolls by moving the CRTC's start address, hence the caller gives the offset in characters.

*A frame buffer* holds pixels. :class:`Font` learns the glyphs from a line of known text on the same
screen and afterwards recognises them exactly: no font is taken from anywhere, and a text that is
read this way really stands in the picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

COLUMNS, ROWS = 80, 25
VGA_BYTES = 0x8000
"""Size of the colour text window at 0xb8000."""

# CP437's graphics in the low range are not needed: 0x00 is shown as a blank.
_CP437 = bytes(range(256)).decode("cp437").replace("\0", " ")


def vga_lines(memory: bytes, start: int) -> list[str]:
    """The 25 lines of 80 columns that a VGA adapter in mode 3 shows.

    Args:
        memory: the window's :data:`VGA_BYTES`, (character, attribute) pairs.
        start: the CRTC start address, in characters; the window wraps around.
    """
    cells = len(memory) // 2
    lines = []
    for row in range(ROWS):
        first = start + row * COLUMNS
        characters = (memory[2 * ((first + column) % cells)] for column in range(COLUMNS))
        lines.append("".join(_CP437[character] for character in characters).rstrip())
    return lines


@dataclass(frozen=True)
class Picture:
    """24-bit pixels, row by row."""

    width: int
    height: int
    pixels: bytes

    @classmethod
    def from_ppm(cls, path: Path) -> Picture:
        """Read a binary PPM (Netpbm P6, maxval 255) as QEMU's ``screendump`` writes it."""
        data = path.read_bytes()
        fields: list[bytes] = []
        position = 0
        while len(fields) < 4:
            end = position
            while data[end : end + 1] not in b" \n\t":
                end += 1
            fields.append(data[position:end])
            position = end + 1
        if fields[0] != b"P6" or fields[3] != b"255":
            raise ValueError(f"{path}: not a 24-bit PPM")
        width, height = int(fields[1]), int(fields[2])
        pixels = data[position:]
        if len(pixels) != 3 * width * height:
            raise ValueError(f"{path}: {len(pixels)} bytes for {width}x{height}")
        return cls(width, height, pixels)

    def blank(self) -> bool:
        """Whether every pixel has the same colour."""
        return self.pixels == self.pixels[:3] * (self.width * self.height)

    def cell(self, column: int, row: int, width: int, height: int) -> bytes:
        """The pixels of one character cell, its rows joined."""
        stride = 3 * self.width
        first = row * height * stride + column * width * 3
        return b"".join(
            self.pixels[first + line * stride : first + line * stride + 3 * width]
            for line in range(height)
        )


def _shape(cell: bytes) -> bytes:
    """A cell without its colours: 1 where a pixel differs from the cell's commonest colour."""
    pixels = [cell[index : index + 3] for index in range(0, len(cell), 3)]
    background = Counter(pixels).most_common(1)[0][0]
    return bytes(pixel != background for pixel in pixels)


class Font:
    """Glyphs of one console font, learnt from a picture of known text."""

    def __init__(self, width: int = 8, height: int = 16) -> None:
        self.width = width
        self.height = height
        self._glyphs: dict[bytes, str] = {}
        self._cells: dict[bytes, str] = {}  # raw cell → character; most cells repeat

    def learn(self, picture: Picture, text: str, row: int = 0) -> None:
        """Take `text`'s glyphs from `picture`, where it starts in column 0 of `row` and wraps.

        Raises:
            ValueError: two different characters look the same, or one has two shapes: what is on
                the screen is not `text`.
        """
        columns = picture.width // self.width
        shapes: dict[str, bytes] = {}
        for index, character in enumerate(text):
            cell = picture.cell(index % columns, row + index // columns, self.width, self.height)
            if shapes.setdefault(character, _shape(cell)) != _shape(cell):
                raise ValueError(f"{character!r} has two shapes")
        glyphs = {shape: character for character, shape in shapes.items()}
        if len(glyphs) != len(shapes):
            raise ValueError("different characters have the same shape")
        self._glyphs, self._cells = glyphs, {}

    def lines(self, picture: Picture) -> list[str]:
        """The text in `picture`; a cell that holds no known glyph (a cursor) reads as a blank."""
        lines = []
        for row in range(picture.height // self.height):
            line = []
            for column in range(picture.width // self.width):
                cell = picture.cell(column, row, self.width, self.height)
                if cell not in self._cells:
                    self._cells[cell] = self._glyphs.get(_shape(cell), " ")
                line.append(self._cells[cell])
            lines.append("".join(line).rstrip())
        return lines
