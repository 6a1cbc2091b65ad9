"""Windows and sequences in event time, as values inside rows.

What a key has done is kept as panes; which windows they belong to is said by the window's kind. No wall clock, no timers: a row's next
deadline follows from its panes. An event that is on time is never older than the watermark: what only older ones could reach is let go.
"""

from tables.windows.kinds import Crossing, Hopping, Session, Sliding, Tumbling, WindowKind
from tables.windows.panes import EXACT, MOST_IDS, Pane, Panes, distinct, join, joined, marked, single
from tables.windows.sequences import MOST_MARKS, Mark, Step, add_mark, first_match, reachable, unanswered

__all__ = [
    "EXACT",
    "MOST_IDS",
    "MOST_MARKS",
    "Crossing",
    "Hopping",
    "Mark",
    "Pane",
    "Panes",
    "Session",
    "Sliding",
    "Step",
    "Tumbling",
    "WindowKind",
    "add_mark",
    "distinct",
    "first_match",
    "join",
    "joined",
    "marked",
    "reachable",
    "single",
    "unanswered",
]
