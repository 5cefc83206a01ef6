"""The answers of the simulated Public API: data, pages of a list, and errors."""

import base64
import json
from typing import Any

from aiohttp import web

LARGEST_PAGE = 200


def page(request: web.Request, name: str, items: list[dict[str, Any]]) -> web.Response:
    count = request.query.get("pagination.count", "10")
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= LARGEST_PAGE):
        return error(
            422, "input-validation", '"pagination.count" is invalid', field="pagination.count"
        )
    cursor = request.query.get("pagination.cursor", "")
    try:
        first = int(base64.b64decode(cursor)) if cursor else 0
    except ValueError:
        return error(422, "input-validation", '"pagination.cursor" is invalid')
    last = first + int(count)
    pagination: dict[str, Any] = {"current": cursor or _cursor(0), "totalEntries": len(items)}
    if last < len(items):
        pagination["next"] = _cursor(last)
    return data(**{name: items[first:last], "pagination": pagination})


def _cursor(offset: int) -> str:
    return base64.b64encode(str(offset).encode()).decode()


def data(**data: Any) -> web.Response:
    return web.Response(text=json.dumps({"data": data}), content_type="application/json")


def error(status: int, kind: str, message: str, **facts: Any) -> web.Response:
    body = {"errors": [{"type": kind, "message": message, **facts}]}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
