"""A picture of ratios: for each row a bar for each environment, on a logarithmic scale, with the row's mark as a tick."""
import math
from xml.sax.saxutils import escape

LEFT, WIDTH, TOP, ROW, BAR = 400, 620, 74, 24, 9
COLORS = {"trap": "#2a6fbb", "runsc": "#b9b9b9"}
LABELS = {"trap": "run9 (trap)", "runsc": "runsc"}
MARK_COLOR = "#d1350f"


class Scale:
    """From a ratio to a place on the x axis."""

    def __init__(self, values):
        self.low = math.floor(math.log10(min([*values, 0.5])))
        self.high = math.ceil(math.log10(max([*values, 10])))

    def __call__(self, value):
        return LEFT + WIDTH * (math.log10(value) - self.low) / (self.high - self.low)

    def lines(self):
        for power in range(self.low, self.high + 1):
            for step in (1, 2, 5) if power < self.high else (1,):
                yield step * 10.0 ** power


def text(x, y, words, anchor="start", size=12, color="#222", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def rect(x, y, width, height, color):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>'


def number(ratio):
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def label(one, end, mark, y, words):
    """A bar's number at its end, or behind the mark if that would cover it."""
    side = 1 if end > one else -1
    covered = 0 <= (mark - end) * side < 7 * len(words)
    return text((mark if covered else end) + 4 * side, y, words, "start" if side > 0 else "end", 9, "#444")


def legend():
    x = LEFT
    for name, color in COLORS.items():
        yield rect(x, 36, 12, 10, color)
        yield text(x + 17, 45, LABELS[name])
        x += 110
    yield rect(x, 34, 2.5, 14, MARK_COLOR)
    yield text(x + 9, 45, "mark for run9    (native = 1; shorter is better)")


def picture(title, rows):
    """An SVG of rows: (title, {environment: ratio}, mark or None)."""
    scale = Scale([v for _, ratios, mark in rows for v in [*ratios.values(), *([mark] if mark else [])]])
    bottom = TOP + ROW * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{bottom + 16}" '
           'font-family="sans-serif">', '<rect width="100%" height="100%" fill="white"/>',
           text(14, 22, title, size=15, weight="bold"), *legend()]
    for value in scale.lines():
        main = value == 1
        out.append(rect(scale(value), TOP - 4, 1.5 if main else 0.6, bottom - TOP + 4, "#222" if main else "#ddd"))
        out.append(text(scale(value), TOP - 9, f"{value:g}", "middle", 10, "#555"))
    one = scale(1)
    for i, (name, ratios, mark) in enumerate(rows):
        y = TOP + ROW * i
        out.append(text(LEFT - 8, y + 15, name, "end"))
        for k, (environment, color) in enumerate(COLORS.items()):
            if environment not in ratios:
                continue
            end = scale(ratios[environment])
            top = y + 3 + k * BAR
            out.append(rect(min(one, end), top, max(abs(end - one), 1), BAR - 1, color))
            out.append(label(one, end, scale(mark) if mark else one, top + 8, number(ratios[environment])))
        if mark:
            out.append(rect(scale(mark) - 1.2, y + 1, 2.4, 2 * BAR + 3, MARK_COLOR))
    return "\n".join([*out, "</svg>", ""])
