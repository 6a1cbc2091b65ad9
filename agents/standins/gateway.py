"""The stand-in payment gateway: it declines totals ending in .13 and takes the rest."""

from agents.agent import Agent, Decision, Unexpected
from schemas.fields import LONGEST_ID
from schemas.message import Envelope, Message
from schemas.money import major, text
from schemas.orders import ProcessPayment, RefundPayment
from schemas.payments import PaymentFailed, PaymentProcessed, PaymentRefunded
from tables.services import CHARGES, Charge

DECLINED = ".13"


def decide(charge: Charge, heard: Envelope[Message]) -> Decision:
    match heard.payload:
        case ProcessPayment(order_id=order):
            # The row after this command is the row of the first one: asking again repeats the answer, whatever is asked.
            return [_answer(order, CHARGES.evolve(charge, heard))]
        case RefundPayment(order_id=order, payment_id=payment, amount=amount, currency=currency):
            return [PaymentRefunded(order_id=order, payment_id=payment, amount=amount, currency=currency)]
    raise Unexpected(heard.payload.wire.name)


def _answer(order: str, charge: Charge) -> PaymentProcessed | PaymentFailed:
    said = PaymentFailed if text(charge.amount_minor, charge.currency).endswith(DECLINED) else PaymentProcessed
    return said(
        order_id=order,
        payment_id=f"pay-{order}"[:LONGEST_ID],
        user_id=charge.user_id,
        amount=major(charge.amount_minor, charge.currency),
        currency=charge.currency,
    )


GATEWAY = Agent(
    name="gateway",
    hears=(ProcessPayment, RefundPayment),
    table=CHARGES,
    decide=decide,
    says=(PaymentProcessed, PaymentFailed, PaymentRefunded),
    answers_after_ms=1_000,
)
