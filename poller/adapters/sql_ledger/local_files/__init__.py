"""Files of this machine beside a ledger: the socket of events, and the link of the page."""
