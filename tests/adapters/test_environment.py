"""Proxies and CA certificates, as the variables of the environment name them."""

import base64
import contextlib
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.environment import proxy_for, trust
from poller.adapters.http import Http
from poller.core.errors import FatalError, TransientError
from tests.scripted import Serve, read_request, silent_port

PROXY = "http://proxy.example.com:3128"


@pytest.fixture(autouse=True)
def no_proxy_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("*", "https://acme.us.auth0.com"),
        ("auth0.com", "https://acme.us.auth0.com"),
        (".auth0.com", "https://acme.us.auth0.com"),
        ("*.auth0.com", "https://acme.us.auth0.com"),
        ("ACME.us.Auth0.com", "https://acme.us.auth0.com"),
        ("acme.us.auth0.com:443", "https://acme.us.auth0.com"),
        ("https://acme.us.auth0.com", "https://acme.us.auth0.com"),
        ("example.org, auth0.com", "https://acme.us.auth0.com"),
        ("example.org auth0.com", "https://acme.us.auth0.com"),
        ("127.0.0.0/8", "http://127.0.0.1:8080"),
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("10.0.0.0/8,127.0.0.0/8", "http://127.9.9.9"),
        ("::1", "http://[::1]:8080"),
        ("[::1]", "http://[::1]:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("0:0:0:0:0:0:0:1", "http://[::1]:8080"),
        ("fe80::/10", "https://[fe80::7]"),
        ("[fe80::]/10", "https://[fe80::7]"),
        ("[fe80::/10]", "https://[fe80::7]"),
        ("fe80::/10, ::/0", "http://[::1]"),
        ("localhost", "http://localhost:8080"),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_ranges(
    monkeypatch: pytest.MonkeyPatch, entry: str, origin: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert proxy_for(origin) == PROXY
    monkeypatch.setenv("NO_PROXY", entry)
    assert proxy_for(origin) is None


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("uth0.com", "https://acme.us.auth0.com"),
        ("acme.us.auth0.com:8443", "https://acme.us.auth0.com"),
        ("127.0.0.0/8", "https://acme.us.auth0.com"),
        ("10.0.0.0/8", "http://127.0.0.1"),
        ("::/0", "http://127.0.0.1"),
        ("[::1]:81", "http://[::1]:80"),
        ("fe80::/300, [, ]:, ., :, /", "http://[::1]"),
        ("", "http://127.0.0.1"),
    ],
)
def test_an_entry_that_names_another_or_that_nobody_can_read_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, entry: str, origin: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", entry)
    assert proxy_for(origin) == PROXY


def test_the_proxy_of_the_scheme_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "other:1")
    assert proxy_for("https://acme.us.auth0.com") == "http://other:1"
    monkeypatch.setenv("https_proxy", PROXY)
    assert proxy_for("https://acme.us.auth0.com") == PROXY


def test_a_range_of_loopback_reaches_the_server_past_a_proxy_that_is_down(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, unused_origin: str
) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setenv("HTTP_PROXY", unused_origin)
    monkeypatch.setenv("NO_PROXY", "fe80::/10,127.0.0.0/8")
    client = Http(serve(handle), ServerClock())
    assert client.call("GET", "/").status == 200
    client.close()


@pytest.mark.parametrize("origin", ["https://acme.us.auth0.com", "http://127.0.0.2:1"])
def test_a_proxy_that_is_down_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, unused_origin: str, origin: str
) -> None:
    down = unused_origin
    monkeypatch.setenv("ALL_PROXY", down.replace("http://", "http://me:secret@"))
    client = Http(origin, ServerClock())
    with pytest.raises(TransientError) as raised:
        client.call("GET", "/")
    client.close()
    assert str(raised.value) == f"the proxy {down}, on the way to {origin}: Connection refused"


def test_a_proxy_that_refuses_is_named_with_its_status_alone(
    monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 407 Own text\r\nContent-Length: 0\r\n\r\n")

    proxy = serve(handle)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    client = Http("https://acme.us.auth0.com", ServerClock())
    with pytest.raises(TransientError) as raised:
        client.call("GET", "/")
    client.close()
    assert (
        str(raised.value)
        == f"the proxy {proxy}, on the way to https://acme.us.auth0.com: it answered 407"
    )


@pytest.mark.parametrize("origin", ["https://acme.us.auth0.com", "http://acme.us.auth0.com"])
def test_a_proxy_gets_its_user_and_password_and_the_name_of_the_server(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, origin: str
) -> None:
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 407 Own text\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setenv("ALL_PROXY", serve(handle).replace("http://", "http://m%C3%A9:s%40crt@"))
    client = Http(origin, ServerClock())
    with contextlib.suppress(TransientError):  # only a tunnel fails by the answer of the proxy
        client.call("GET", "/")
    client.close()
    credentials = base64.b64encode("mé:s@crt".encode())
    assert b"Proxy-Authorization: Basic " + credentials in asked[0]
    assert b"Host: acme.us.auth0.com" in asked[0]


def test_a_failure_behind_the_proxy_names_the_server_and_not_the_proxy(
    monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv(65536)  # the greeting of TLS; the answer is none
        connection.sendall(b"no TLS here")

    monkeypatch.setenv("HTTPS_PROXY", serve(handle))
    client = Http("https://acme.us.auth0.com", ServerClock())
    with pytest.raises(TransientError) as raised:
        client.call("GET", "/")
    client.close()
    assert str(raised.value).startswith("https://acme.us.auth0.com: ")


def test_a_proxy_that_goes_down_after_an_answer_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with silent_port() as port:
        listener, proxy = socket.create_server(("127.0.0.1", port)), f"http://127.0.0.1:{port}"

        def answer_once() -> None:
            connection = listener.accept()[0]
            with connection:
                read_request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            listener.close()

        monkeypatch.setenv("HTTP_PROXY", proxy)
        client = Http("http://acme.us.auth0.com", ServerClock())
        answering = threading.Thread(target=answer_once)
        answering.start()
        assert client.call("GET", "/").status == 200
        answering.join()
        with pytest.raises(TransientError, match=f"^the proxy {proxy}, on the way to"):
            client.call("GET", "/")
        client.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTPS_PROXY", "http://proxy:abc"),
        ("HTTPS_PROXY", "foo://proxy"),
        ("HTTPS_PROXY", f"http://{64 * 'p'}:1"),
        ("HTTPS_PROXY", "http://pröxy..example:1"),
    ],
)
def test_a_proxy_variable_that_cannot_be_used_is_fatal_and_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    client = Http("https://acme.us.auth0.com", ServerClock())
    with pytest.raises(FatalError, match="proxy variables") as raised:
        client.call("GET", "/")
    assert name in raised.value.hint


def test_certificates_that_are_missing_for_a_moment_are_trouble_that_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Serve
) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    file = tmp_path / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    client = Http(serve(handle), ServerClock())
    with pytest.raises(TransientError, match=r"SSL_CERT_FILE=.* cannot be read: No such file"):
        client.call("GET", "/")
    file.write_text(Path(certifi.where()).read_text()[:200])
    with pytest.raises(
        TransientError, match=r"of SSL_CERT_FILE=.* cannot be read: they hold no certificate"
    ):
        client.call("GET", "/")
    file.write_text(Path(certifi.where()).read_text())
    assert client.call("GET", "/").status == 200
    client.close()


def test_the_certificates_that_come_along_may_be_missing_for_a_moment_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "gone.pem"))
    with pytest.raises(TransientError, match=re.escape(f"of {tmp_path}/gone.pem cannot be read")):
        trust({})


def test_a_file_of_certificates_is_read_once_for_all_origins_and_again_after_a_change(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ca.pem"
    shutil.copy(certifi.where(), file)
    environ = {"SSL_CERT_FILE": str(file)}
    before = trust(environ)
    assert trust(environ) is before
    file.write_text(file.read_text().partition("-----END CERTIFICATE-----")[0])
    with pytest.raises(TransientError, match="no certificate"):
        trust(environ)
    shutil.copy(certifi.where(), file)
    assert trust(environ).cert_store_stats() == before.cert_store_stats()


def test_certificates_that_this_user_may_not_read_are_fatal_and_name_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    file.touch()

    def refuse(**_: object) -> ssl.SSLContext:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl, "create_default_context", refuse)
    with pytest.raises(FatalError, match="CURL_CA_BUNDLE") as raised:
        trust({"CURL_CA_BUNDLE": str(file)})
    assert str(file) in raised.value.hint


@pytest.fixture
def unused_origin() -> Iterator[str]:
    with silent_port() as port:
        yield f"http://127.0.0.1:{port}"
