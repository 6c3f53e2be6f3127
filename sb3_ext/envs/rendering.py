"""Small pictures of small worlds, with numpy alone. Sides are even, as video encoders want them."""

import numpy as np

WHITE, GREY, BLACK = (245, 245, 245), (200, 200, 200), (60, 60, 60)
BLUE, GREEN, RED, ORANGE = (50, 90, 200), (60, 160, 80), (200, 70, 60), (240, 150, 40)


def check_render_mode(render_mode: str | None) -> None:
    """:raises ValueError: if it is none of None, "ansi" and "rgb_array" """
    if render_mode not in (None, "ansi", "rgb_array"):
        raise ValueError(f'render_mode {render_mode!r} must be None, "ansi" or "rgb_array"')


def cell_size(n_rows: int, n_columns: int) -> int:
    """:return: pixels of a cell, even: 48 where the picture does not grow beyond 768"""
    return max(8, min(48, 768 // max(n_rows, n_columns) // 2 * 2))


def draw_cells(colours: np.ndarray, size: int, line: tuple[int, int, int] = GREY) -> np.ndarray:
    """
    :param colours: [rows, columns, 3]
    :param size: of a cell in pixels, even
    :param line: colour of the cells' upper and left edges, one pixel thick
    :return: [rows * size, columns * size, 3] uint8
    """
    picture = colours.astype(np.uint8).repeat(size, axis=0).repeat(size, axis=1)
    picture[::size] = line
    picture[:, ::size] = line
    return picture


def draw_disc(picture: np.ndarray, row: int, column: int, size: int, colour: tuple[int, int, int]) -> None:
    """
    :param picture: changed in place
    :param row: of the cell with the disc in its middle
    :param column: of this cell
    :param size: of a cell in pixels
    :param colour: of the disc, whose diameter is 0.7 of the cell
    """
    pixel = np.arange(size) - (size - 1) / 2
    cell = picture[row * size : (row + 1) * size, column * size : (column + 1) * size]
    cell[np.hypot(pixel[:, None], pixel[None, :]) <= 0.35 * size] = colour
