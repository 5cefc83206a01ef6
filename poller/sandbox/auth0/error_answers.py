"""The error answers of the Management API and of the token endpoint."""

from typing import Any

from aiohttp import web


def error_answer(status: int, message: str, code: str | None = None, **more: Any) -> web.Response:
    """Return an error as the Management API words it."""
    names = {
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        429: "Too Many Requests",
    }
    body = {"statusCode": status, "error": names[status], "message": message, **more}
    return web.json_response(body | ({"errorCode": code} if code else {}), status=status)


def token_error_answer(status: int, error: str, description: str) -> web.Response:
    """Return an error as the token endpoint words it."""
    return web.json_response({"error": error, "error_description": description}, status=status)
