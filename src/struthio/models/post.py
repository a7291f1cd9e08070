"""One question over HTTP, once: an answer, a reason to try again, or a mistake."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from struthio.checks import UserError, need

LARGEST = 16 * 2**20  # bytes of an answer
CHUNK = 65536
KEY = "Does it want a key? headers={'authorization': 'Bearer ...'}, or --header on the command line."
PATH = "Is this the whole path of the address, and does it take POST?"
LARGE = "Are there too many inputs in one request? batch=1 (--request-size 1)."
FORM = "Does it take inputs in another form? See Request (--field, --encoding, --layout, --each)."
SLOWER = "rate=1 (--rate 1) asks once a second"
REFUSALS = {401: KEY, 403: KEY, 404: PATH, 405: PATH, 413: LARGE}


class TryAgain(Exception):
    """A question that was not answered and may be put again.

    Attributes:
        processed: whether the server may have worked on it.
        wait: how many seconds it asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, processed: bool, wait: float | None = None) -> None:
        super().__init__(reason)
        self.processed, self.wait = processed, wait


class Line:
    """A connection to one address, which is kept open.

    Args:
        url: http:// or https://.
        timeout: seconds for connecting, for the server's silence, and for a whole answer.
        headers: sent with every question, such as an authorisation.
        largest: the most bytes of an answer.
        client: an httpx.Client of your own, for proxies and certificates; its redirects are not followed.
    """

    def __init__(
        self, url: str, timeout: float, headers: Mapping[str, str] | None, largest: int, client: Any = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{url!r} is no address of a service; http://HOST:PORT/PATH is needed.")
        self.http = need("httpx", "endpoint")
        place = parts.netloc.rpartition("@")[2]
        self.url, self.shown = url, f"{parts.scheme}://{place}{parts.path}"  # without passwords and keys
        self.timeout, self.largest = timeout, largest
        self.headers = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        self.headers["content-type"] = "application/json"
        self.client = client or self.http.Client(trust_env=False, follow_redirects=False)

    def ask(self, question: Any) -> Any:
        """The answer as a JSON value. Raises TryAgain, or UserError for what will not become better by asking again."""
        http, content = self.http, json.dumps(question, allow_nan=False).encode()
        try:
            with self.client.stream(
                "POST",
                self.url,
                content=content,
                headers=self.headers,
                timeout=self.timeout,
                follow_redirects=False,
            ) as response:
                self._look(response)
                return self._read(response)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout) as error:
            raise TryAgain(f"it cannot be reached ({error})", processed=False) from error
        except http.TimeoutException as error:
            raise TryAgain(f"it did not answer within {self.timeout:g} s", processed=True) from error
        except (http.NetworkError, http.RemoteProtocolError) as error:
            raise TryAgain(f"the connection broke ({error})", processed=True) from error
        except (http.HTTPError, http.InvalidURL) as error:
            raise UserError(f"{self.shown} cannot be asked: {type(error).__name__}: {error}") from error

    def _look(self, response: Any) -> None:
        """Raise where the status is not one of success."""
        status = response.status_code
        if 200 <= status < 300:
            return
        if status == 429:
            said = f"it says that it is asked too often (429){self._said(response)}. {SLOWER}"
            raise TryAgain(said, False, retry_after(response.headers))
        if status >= 500:
            raise TryAgain(f"it failed ({status}){self._said(response)}", True, retry_after(response.headers))
        if 300 <= status < 400:
            there = response.headers.get("location", "somewhere else")[:200]
            raise UserError(f"{self.shown} redirects to {there!r}, which is not followed. Name that address if meant.")
        hint = REFUSALS.get(status, FORM)
        raise UserError(f"{self.shown} refused the question ({status}){self._said(response)}. {hint}")

    def _said(self, response: Any) -> str:
        """The beginning of a refusal, in quotes; nothing where it breaks off."""
        try:
            said = self._bytes(response)[:300].decode(errors="replace").strip()
        except (TryAgain, UserError, self.http.HTTPError):
            return ""
        return f": {said!r}" if said else ""

    def _read(self, response: Any) -> Any:
        content = self._bytes(response)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            said = content[:120].decode(errors="replace")
            raise UserError(f"{self.shown} answered what is no JSON: {said!r} ({error}).") from error

    def _bytes(self, response: Any) -> bytes:
        content, deadline = bytearray(), time.monotonic() + self.timeout
        for chunk in response.iter_bytes(CHUNK):
            content += chunk
            if len(content) > self.largest:
                raise UserError(f"{self.shown} answered more than {self.largest} bytes; largest=... allows more.")
            if time.monotonic() > deadline:
                raise TryAgain(f"its answer took more than {self.timeout:g} s", processed=True)
        return bytes(content)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait that a Retry-After header names, as a number or as a date; None where it does not."""
    text = headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
