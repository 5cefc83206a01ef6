"""The origins of Segment's services, by the region of a workspace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region of Segment, and the origins of its services (Segment docs: Regional Segment)."""

    name: str
    tracking: str
    public_api: str
    oauth: str


REGIONS = (
    Region(
        name="US",
        tracking="https://api.segment.io",
        public_api="https://api.segmentapis.com",
        oauth="https://oauth2.segment.io",
    ),
    Region(
        name="EU",
        tracking="https://events.eu1.segmentapis.com",
        public_api="https://eu1.api.segmentapis.com",
        oauth="https://oauth2.eu1.segmentapis.com",
    ),
)
CDN = "https://cdn.segment.com"
"""The CDN of both regions (observed by third parties, not documented for the EU)."""


def region_of(endpoint: str) -> Region | None:
    """Return the region whose tracking API has this origin, or None if it is not Segment's own."""
    return next((region for region in REGIONS if region.tracking == endpoint), None)


def region_of_host(host: str) -> Region | None:
    """Return the region whose tracking API has this host, or None if it is not Segment's own."""
    return region_of(f"https://{host}")
