"""The growth curves as a picture: SVG, drawn with matplotlib."""

from pathlib import Path
from typing import Any


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Draw what grows with the length of a journal, and what does not."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ledger"  # the same figures give the same file
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    events = [point["events"] for point in points]
    figure, (rate, time, memory) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    rate.plot(events, [point["replay"] / 1000 for point in points], marker="o", label="replay to portfolio")
    rate.plot(events, [point["cursor"] / 1000 for point in points], marker="s", linestyle="--", label="bare cursor")
    rate.set_title("thousand events a second, from the start")
    time.plot(events, [point["until_ms"] for point in points], marker="o", label="--until anywhere")
    time.plot(events, [point["known_at_ms"] for point in points], marker="s", label="--known-at anywhere")
    time.plot(events, [point["start_ms"] for point in points], marker="^", label="open and portfolio")
    time.set_title("milliseconds, with checkpoints")
    memory.plot(events, [point["mb"] for point in points], marker="o", label="full replay")
    memory.set_title("memory of the process, MB")
    for axes in (rate, time, memory):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("events in the journal")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
