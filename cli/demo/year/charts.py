"""Charts as SVG, written by hand: lines, and stacked bars which may hang below zero.

A chart says in its title what it shows and on its axis in which unit; every colour stands in the
legend by name, and every bar and point tells its figure when pointed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal

WIDTH: Final = 860
HEIGHT: Final = 420
LEFT: Final = 84
RIGHT: Final = 190
TOP: Final = 64
BOTTOM: Final = 56
TICKS: Final = 5
LABELS: Final = 14
"""At most so many names under the horizontal axis."""

COLOURS: Final = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#bbbbbb",
)
"""Told apart by people who see colours differently (Paul Tol's bright scheme)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is drawn: each series has a value for each place."""

    title: str
    unit: str
    places: Sequence[str]
    series: Mapping[str, Sequence[float]]
    shape: Literal["lines", "bars"] = "bars"
    note: str = ""


def svg(chart: Chart) -> str:
    """The chart as an SVG document."""
    low, high = _range(chart)
    scale = _Scale(low=low, high=high, places=max(1, len(chart.places)))
    body = [
        *_frame(chart, scale),
        *(_lines(chart, scale) if chart.shape == "lines" else _bars(chart, scale)),
        *_legend(chart),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" font-family="sans-serif" font-size="12">\n'
        f"<title>{escape(chart.title)}</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    low: float
    high: float
    places: int

    def x(self, place: float) -> float:
        """Where a place begins; half a place on is its middle."""
        return LEFT + place * (WIDTH - LEFT - RIGHT) / self.places

    def y(self, value: float) -> float:
        inside = HEIGHT - TOP - BOTTOM
        return TOP + inside * (self.high - value) / (self.high - self.low)


def _range(chart: Chart) -> tuple[float, float]:
    """From which round number to which."""
    columns = list(zip(*chart.series.values(), strict=True))
    if chart.shape == "lines":
        lows = [min(column) for column in columns]
        highs = [max(column) for column in columns]
    else:
        lows = [sum(value for value in column if value < 0) for column in columns]
        highs = [sum(value for value in column if value > 0) for column in columns]
    low, high = min(0.0, *lows, 0.0), max(0.0, *highs, 0.0)
    step = _step((high - low) / TICKS or 1.0)
    return -step * _up(-low / step), step * max(1, _up(high / step))


def _up(value: float) -> int:
    return int(value) + (value > int(value))


def _step(least: float) -> float:
    """The round number that is at least `least`: 1, 2 or 5 and zeros."""
    power = 1.0
    while power * 10 <= least:
        power *= 10
    while power > least:
        power /= 10
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least)


def _frame(chart: Chart, scale: _Scale) -> Iterator[str]:
    yield _text(LEFT, 26, chart.title, size=16, weight="bold")
    yield _text(LEFT, 46, f"{chart.unit}{'; ' if chart.note else ''}{chart.note}", fill="#555")
    step = _step((scale.high - scale.low) / TICKS)
    value = scale.low
    while value <= scale.high + step / 2:
        y = scale.y(value)
        colour = "#333" if abs(value) < step / 2 else "#ddd"
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{colour}"/>'
        yield _text(LEFT - 8, y + 4, _figure(value), anchor="end", fill="#333")
        value += step
    every = max(1, -(-len(chart.places) // LABELS))
    for place, name in enumerate(chart.places):
        if place % every == 0:
            x = scale.x(place + 0.5)
            yield _text(x, HEIGHT - BOTTOM + 20, name, anchor="middle", fill="#333", size=11)


def _bars(chart: Chart, scale: _Scale) -> Iterator[str]:
    above, below = [0.0] * len(chart.places), [0.0] * len(chart.places)
    width = (scale.x(1) - scale.x(0)) * 0.76
    for (name, values), colour in zip(chart.series.items(), _colours(), strict=False):
        for place, value in enumerate(values):
            if not value:
                continue
            base = above if value > 0 else below
            ends = sorted((scale.y(base[place]), scale.y(base[place] + value)))
            base[place] += value
            told = escape(f"{chart.places[place]}, {name}: {_figure(value)}")
            yield (
                f'<rect x="{scale.x(place + 0.12):.1f}" y="{ends[0]:.1f}" width="{width:.1f}" '
                f'height="{ends[1] - ends[0]:.1f}" fill="{colour}"><title>{told}</title></rect>'
            )


def _lines(chart: Chart, scale: _Scale) -> Iterator[str]:
    for (name, values), colour in zip(chart.series.items(), _colours(), strict=False):
        spots = [(scale.x(place + 0.5), scale.y(value)) for place, value in enumerate(values)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        for place, (x, y) in enumerate(spots):
            told = escape(f"{chart.places[place]}, {name}: {_figure(values[place])}")
            yield (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
                f"<title>{told}</title></circle>"
            )


def _legend(chart: Chart) -> Iterator[str]:
    for row, (name, colour) in enumerate(zip(chart.series, _colours(), strict=False)):
        x, y = WIDTH - RIGHT + 18, TOP + 10 + 20 * row
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, y, name, fill="#333")


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    fill: str = "#111",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{fill}" font-weight="{weight}">{escape(text)}</text>'
    )


def _figure(value: float) -> str:
    value = value or 0.0
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.2f}"
