"""An independent answer: what a replay must report, worked out from the specification without the product's code."""
