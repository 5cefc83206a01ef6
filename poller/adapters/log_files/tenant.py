"""The tenant that a log event names."""

from typing import Any

_AUTH0 = ".auth0.com"
_PARTNER = "aws.partner/auth0.com/"


def foreign_tenant(record: Any, source: str | None, domain: str) -> str | None:
    """Return the name of the event's tenant if `domain` is another tenant, else None.

    The name stands in `tenant_name`, in `hostname`, and in EventBridge's `source`, for example
    `aws.partner/auth0.com/acme-0000/auth0.logs`. A custom domain does not tell the tenant.
    """
    if not domain.endswith(_AUTH0):
        return None
    name, host = (record.get(key) for key in ("tenant_name", "hostname"))
    tenant = domain.partition(".")[0]
    if isinstance(name, str) and name.strip():
        return None if name.strip().lower() == tenant else name
    if isinstance(host, str) and host.strip().lower().endswith(_AUTH0):
        return None if host.strip().lower() == domain else host
    if source is not None and source.lower().startswith(_PARTNER):
        bus = source[len(_PARTNER) :].partition("/")[0]
        if bus.lower() == tenant or bus.lower().startswith(f"{tenant}-"):
            return None
        return bus
    return None
