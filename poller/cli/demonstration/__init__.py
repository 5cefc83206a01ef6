"""The demonstration: live traffic, then an outage and a backfill."""
