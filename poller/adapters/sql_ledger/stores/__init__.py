"""Parts of the ledger of one stream, one for each idea. `SqlLedger` is all of them together."""
