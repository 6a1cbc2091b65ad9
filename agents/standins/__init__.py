"""The services around the pipeline, for demos and for users who have none yet: they answer from the data alone."""

from collections.abc import Mapping

from agents.agent import AnyAgent
from agents.standins.carrier import CARRIER
from agents.standins.gateway import GATEWAY
from agents.standins.stock import stock


def standins(levels: Mapping[str, int]) -> tuple[AnyAgent, ...]:
    """Stock that begins with `levels` (pieces by SKU), payment gateway, carrier. Raises ValueError for a negative level."""
    return stock(levels), GATEWAY, CARRIER
