"""The proxy and the CA certificates that the environment names for an origin."""

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import certifi

from poller.core.errors import FatalError, TransientError

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PORT_DIGITS = 5


def proxy_for(origin: str) -> str | None:
    """Return the URL of the proxy for this origin, or None for a direct connection.

    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are read, in capital or small letters.
    """
    url, proxies = urlsplit(origin), getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or _bypasses(
        proxies.get("no", ""), url.hostname or "", url.port or _DEFAULT_PORTS.get(url.scheme)
    ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _bypasses(no_proxy: str, host: str, port: int | None) -> bool:
    """Return whether an entry of NO_PROXY names the host, by the rules of curl and Go.

    An entry that cannot be read names no host.
    """
    return any(
        _names(entry, host.lower().rstrip("."), port)
        for entry in no_proxy.replace(",", " ").split()
    )


def _names(entry: str, host: str, port: int | None) -> bool:
    """Tell if the entry is `*`, the host, a parent domain, its address, or a range around it."""
    name, entry_port = _split(entry.lower().rpartition("://")[2])
    if entry_port and int(entry_port) != port:
        return False
    network, address = _network(name), _network(host)
    if network is not None:
        if address is None or address.version != network.version:
            return False
        return address.subnet_of(network)  # type: ignore[arg-type]  # both are of one version
    domain = name.removeprefix("*").strip(".")
    return name == "*" or (bool(domain) and (host == domain or host.endswith(f".{domain}")))


def _split(entry: str) -> tuple[str, str]:
    """Return the host or range, without brackets, and the port.

    The forms are `[::1]:80`, `[fe80::]/10`, `::1` and `name:80`.
    """
    if entry.startswith("["):
        address, _, rest = entry[1:].partition("]")
        length, _, port = rest.partition(":")
        name = address + length
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""
    return name, port if port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS else ""


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_network(text, strict=False)
    return None


def shown(proxy: str) -> str:
    """Return the proxy as an error may name it, without its user and password."""
    url = urlsplit(proxy)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def trust(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Load the CA certificates.

    They come from the variables of OpenSSL, or else of requests and curl, or else from certifi.

    Raises:
        TransientError: the file is missing or not whole, as in the middle of a package update, or
            the machine is short of descriptors or memory.
        FatalError: this user may not read the file.
    """
    name = next((name for name in (*_CA_VARIABLES, "SSL_CERT_DIR") if environ.get(name)), None)
    file = next((environ[each] for each in _CA_VARIABLES if environ.get(each)), None)
    folder = environ.get("SSL_CERT_DIR")
    if file is not None and os.path.isdir(file):  # noqa: PTH112 - requests takes a folder here too
        file, folder = None, file
    if not file and not folder:
        file = certifi.where()
    place = f"{name}={environ[name]}" if name else f"{file}"
    named = f"the CA certificates of {place}"
    hint = "install the program's dependencies again"
    if name:
        hint = f"correct {name}, or unset it to trust the certificates that come with the program"
    try:
        return _loaded(file, folder, _state_of(file))
    except PermissionError:
        raise FatalError(
            f"{named} may not be read",
            code="ca-certificates-unreadable",
            hint=f"let the user of this process read {file or folder}",
        ) from None
    except MemoryError:
        raise TransientError(f"{named} cannot be read: out of memory") from None
    except ssl.SSLError:
        why = "they hold no certificate"
    except OSError as error:
        why = error.strerror or type(error).__name__
    raise TransientError(f"{named} cannot be read: {why}", hint=hint)


def _state_of(file: str | None) -> tuple[int, ...]:
    """Return what changes whenever the file is written, replaced, or given other rights."""
    if file is None:
        return ()
    found = Path(file).stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=1)
def _loaded(file: str | None, folder: str | None, _state: tuple[int, ...]) -> ssl.SSLContext:
    """Load the certificates once for all origins. To parse a whole file takes some 20 ms."""
    return ssl.create_default_context(cafile=file, capath=folder)
