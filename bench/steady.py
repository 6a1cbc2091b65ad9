"""The same rate for a long time: does memory grow, does the worker keep up? With a picture."""

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import fmean, linear_regression
from time import monotonic
from typing import NamedTuple

from bench.measure import Group, Rig, Row, Say, Tables
from bench.payments import Spending, spending, write
from pipeline.clock import wall_ms

SAMPLES = "steady samples"
SLICE_SECONDS = 0.1
FLAT_PERCENT_PER_HOUR = 10.0
WIDTH, HEIGHT, MARGIN = 900, 160, 60


class Sample(NamedTuple):
    """What there was at one moment, and since the sample before."""

    second: float
    rss_mib: float
    lag: int
    events_per_second: float


async def run(rate: int, minutes: float, every: float, picture: Path, say: Say) -> Tables:
    async with Rig(say) as rig:
        work = await spending(rig)
        worker = work.start()
        await worker.said(b"ready")
        async with Group(rig, work.plan) as group:
            group.workers = [worker]
            say(f"{rate:,} payments a second for {minutes:g} minutes")
            feeding = asyncio.create_task(_feed(work, rate))
            samples: list[Sample] = []
            last = await group.look()
            began = last.at
            while last.at < began + minutes * 60:
                await asyncio.sleep(every)
                if feeding.done():
                    feeding.result()
                look = await group.look()
                done = sum(look.committed.values()) - sum(last.committed.values())
                samples.append(Sample(look.at - began, worker.memory("VmRSS"), look.lag, done / (look.at - last.at)))
                last = look
                say("{:6.0f} s  {:5.0f} MiB  lag {:6,}  {:6,.0f} events/s".format(*samples[-1]))
            feeding.cancel()
            await asyncio.wait([feeding])
        await worker.end()
    _draw(samples, picture)
    say(f"drawn in {picture}")
    return {"steady": [verdict(samples, rate)], SAMPLES: [_rounded(sample) for sample in samples]}


async def _feed(work: Spending, rate: int) -> None:
    """Of ever new orders, each with the time at which it is written."""
    producer = work.rig.kafka.writer()
    await producer.start()
    began, orders = monotonic(), count()
    try:
        sent = 0
        while True:
            due, now = round((monotonic() - began) * rate), wall_ms()
            await write(producer, work.input, [work.payments.of(next(orders), now) for _ in range(due - sent)])
            sent = due
            await asyncio.sleep(SLICE_SECONDS)
    finally:
        await producer.stop()


def verdict(samples: Sequence[Sample], rate: int) -> Row:
    """The first quarter is for caches to fill. Lag is what is written between two commits, or less than a second of it."""
    settled = samples[len(samples) // 4 :]
    slope = (
        linear_regression([each.second for each in settled], [each.rss_mib for each in settled]).slope * 3600 if len(settled) > 1 else 0.0
    )
    mean = fmean(each.rss_mib for each in settled)
    lags = sorted(each.lag for each in settled)
    return {
        "events/s": round(fmean(each.events_per_second for each in settled)),
        "RSS MiB": round(mean),
        "slope MiB/h": round(slope, 1),
        "memory": "flat" if slope <= mean * FLAT_PERCENT_PER_HOUR / 100 else "grows",
        "lag median": lags[len(lags) // 2],
        "lag max": lags[-1],
        "keeps up": "yes" if lags[len(lags) // 2] <= rate and settled[-1].lag <= 2 * rate else "no",
    }


def _rounded(sample: Sample) -> Row:
    return {name: round(value, 1) for name, value in sample._asdict().items()}


def _draw(samples: Sequence[Sample], picture: Path) -> None:
    """Memory, lag and rate, one above the other, each from zero."""
    columns: dict[str, list[float]] = {
        "RSS MiB": [s.rss_mib for s in samples],
        "lag": [s.lag for s in samples],
        "events/s": [s.events_per_second for s in samples],
    }
    end = max(1.0, samples[-1].second)
    parts = []
    for number, (name, values) in enumerate(columns.items()):
        bottom, most = (number + 1) * (HEIGHT + MARGIN) - MARGIN // 2, max(1.0, *values)
        points = " ".join(
            f"{MARGIN + sample.second / end * WIDTH:.1f},{bottom - value / most * HEIGHT:.1f}"
            for sample, value in zip(samples, values, strict=True)
        )
        parts += [
            f'<text x="{MARGIN}" y="{bottom - HEIGHT - 6}">{name}, up to {most:,.0f}, in {end / 60:.1f} minutes</text>',
            f'<path d="M{MARGIN},{bottom - HEIGHT} v{HEIGHT} h{WIDTH}" fill="none" stroke="#999"/>',
            f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="1.5"/>',
        ]
    size = f'width="{WIDTH + 2 * MARGIN}" height="{len(columns) * (HEIGHT + MARGIN)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="14">'
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text("\n".join([head, *parts, "</svg>\n"]))
