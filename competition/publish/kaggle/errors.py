"""What can go wrong between the kit and Kaggle, each as one clear line."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any

from competition.environment import COMPETITION
from competition.errors import KitError
from competition.publish.kaggle.redact import one_line
from competition.secret_shapes import mask

RULES = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
TOKENS = "https://www.kaggle.com/settings/api"
HOW_TO_LOG_IN = f"run 'kaggle auth login', or make a token at {TOKENS} and set KAGGLE_API_TOKEN"

_LIMIT = re.compile(r"(?i)submission\s+allowance|daily\s+(submission\s+)?(limit|allowance)|limit of \d+ submissions")
_RULES = re.compile(
    r"(?i)accept.{0,40}rules|rules.{0,40}accept|not (yet )?joined|must (first )?join|competitions\.participate"
)


class Kind(Enum):
    """Kinds of refusal, as far as the kit reacts to them in different ways."""

    CREDENTIALS = "credentials"
    FORBIDDEN = "forbidden"
    RULES = "rules"
    LIMIT = "limit"
    MISSING = "missing"
    CONFLICT = "conflict"
    BUSY = "busy"
    SERVER = "server"
    NETWORK = "network"
    REFUSED = "refused"
    ANSWER = "answer"


class KaggleError(KitError):
    """Kaggle refused, failed or could not be reached.

    Attributes:
        kind: what sort of refusal it is.
        retry_after: seconds that the server asked to wait, if it did.
        arrived: False when the request certainly had no effect, True when it may have had one.
    """

    def __init__(self, message: str, kind: Kind = Kind.REFUSED, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.arrived = kind in (Kind.NETWORK, Kind.SERVER, Kind.ANSWER)


class KernelError(KaggleError):
    """A kernel that cannot be pushed, that failed, or whose output cannot be used."""


def translate(error: Exception, doing: str) -> KaggleError:
    """Turn what the client raised into one line.

    Args:
        error: from the client, ``requests`` or ``json``.
        doing: what was asked, as in "list the submissions".
    """
    import requests

    mask(error)
    if isinstance(error, json.JSONDecodeError):
        return KaggleError(f"cannot {doing}: Kaggle's answer is not JSON ({one_line(error, 80)})", Kind.ANSWER)
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return _of_status(error.response, str(error), doing)
    if isinstance(error, requests.exceptions.Timeout):
        return KaggleError(f"cannot {doing}: Kaggle did not answer in time", Kind.NETWORK)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return KaggleError(f"cannot {doing}: the connection was cut", Kind.NETWORK)
    if isinstance(error, requests.exceptions.RequestException):
        reason = re.split(r"[)>]: ", one_line(_innermost(error), 200), maxsplit=1)[-1]  # urllib3 puts objects in front
        return KaggleError(f"cannot {doing}: no connection to Kaggle ({reason})", _network_kind(error))
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return KaggleError(f"cannot {doing}: {one_line(error)}", Kind.REFUSED)
    told = f"{type(error).__name__}: {one_line(error, 160)}"
    message = f"cannot {doing}: Kaggle's answer was not understood ({told}); try pip install -U kaggle"
    return KaggleError(message, Kind.ANSWER)


def _network_kind(error: Exception) -> Kind:
    """A connection that was never made had no effect: asking again is harmless."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    inner = _innermost(error)
    return Kind.BUSY if isinstance(inner, NewConnectionError | ConnectTimeoutError) else Kind.NETWORK


def _innermost(error: BaseException) -> BaseException:
    """The error at the bottom of what requests and urllib3 wrap around it."""
    for _ in range(8):
        inside = [item for item in (getattr(error, "reason", None), *error.args) if isinstance(item, BaseException)]
        if not inside:
            break
        error = inside[0]
    return error


def _of_status(response: Any, message: str, doing: str) -> KaggleError:
    """One line for an HTTP status."""
    status, told = int(response.status_code), one_line(_told(response) or message)
    if status == 401:
        line = f"cannot {doing}: Kaggle refused the credentials (401): {HOW_TO_LOG_IN}"
        return KaggleError(line, Kind.CREDENTIALS)
    if _LIMIT.search(told):
        return KaggleError(f"cannot {doing}: the daily limit is reached ({told})", Kind.LIMIT)
    if status == 403:
        return _forbidden(told, doing)
    if status == 404:
        return KaggleError(f"cannot {doing}: Kaggle knows nothing of that name (404: {told})", Kind.MISSING)
    if status == 409:
        return KaggleError(f"cannot {doing}: the name or title is taken (409: {told})", Kind.CONFLICT)
    if status == 429:
        line = f"cannot {doing}: Kaggle says too many requests (429); try again later"
        return KaggleError(line, Kind.BUSY, _retry_after(response))
    if status >= 500:
        line = f"cannot {doing}: Kaggle has a problem of its own ({status}: {told}); try again later"
        return KaggleError(line, Kind.SERVER, _retry_after(response))
    return KaggleError(f"cannot {doing}: Kaggle refused ({status}: {told})", Kind.REFUSED)


def _forbidden(told: str, doing: str) -> KaggleError:
    if _RULES.search(told):
        return KaggleError(f"cannot {doing}: accept the competition's rules first, at {RULES}", Kind.RULES)
    line = (
        f"cannot {doing}: not allowed (403: {told}); is it yours, spelt right, and are the rules accepted at {RULES}?"
    )
    return KaggleError(line, Kind.FORBIDDEN)


def _told(response: Any) -> str:
    """The server's own words, where it sent JSON."""
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("message") or "") if isinstance(body, dict) else ""


def _retry_after(response: Any) -> float | None:
    """Seconds of the ``Retry-After`` header (RFC 9110), also when it is a date."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    text = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
