"""A small shop: orders that a workflow processes, a ledger, and the payment provider that charges for them."""
