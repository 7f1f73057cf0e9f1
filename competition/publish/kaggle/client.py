"""The real ``kaggle`` client (2.0 or later), imported late, kept quiet, given time limits and patience.

The client finds the credentials by itself: access token (variable or file), kaggle.json, environment, OAuth. The kit
never reads, prints, stores or packs one. The client's verbose mode would print them; it is switched off.

What the kit asks goes to the services (``kagglesdk``) wherever it can: their requests are the same from 2.0 on, while
methods of ``KaggleApi`` come and go. What an older one does not know is asked for with ``knows``, never assumed.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import metadata
from typing import Any, TypeVar

from competition.console import say
from competition.publish.kaggle.backoff import Patience, persistently
from competition.publish.kaggle.errors import HOW_TO_LOG_IN, KaggleError, Kind, translate
from competition.publish.kaggle.redact import one_line

T = TypeVar("T")

CONNECT_SECONDS, READ_SECONDS = 15.0, 120.0
_TALKATIVE = ("VERBOSE", "VERBOSE_OUTPUT")
_OLDEST = 2  # the first whose requests are those of kagglesdk
UPGRADE = "pip install -U kaggle"
_EXTRA = "this command needs the kaggle client: pip install 'dogbreed-kit[kaggle]'"


class Connection:
    """An authenticated client. Every request goes through ``call``."""

    def __init__(self, api: Any, patience: Patience) -> None:
        self.api = api
        self.patience = patience

    @property
    def user(self) -> str:
        """Name of the account; never anything else of the credentials."""
        return str(self.api.get_config_value("username") or "")

    def call(self, doing: str, ask: Callable[[Any], T], *, repeatable: bool = True) -> T:
        """Ask Kaggle for something.

        Args:
            doing: what, for the error line, as in "list the submissions".
            ask: given the client's services (``kagglesdk.KaggleClient``).
            repeatable: False for what must not happen twice.

        Raises:
            KaggleError: Kaggle refused, failed or could not be reached, after all attempts.
        """
        return persistently(lambda: self.call_once(doing, ask), self.patience, repeatable=repeatable)

    def call_once(self, doing: str, ask: Callable[[Any], T]) -> T:
        """As ``call``, without a second attempt."""
        with _told(doing), self.api.build_kaggle_client() as services:
            return ask(services)

    def call_api(self, doing: str, ask: Callable[[Any], T], *, repeatable: bool = True) -> T:
        """As ``call``, with the whole client (``KaggleApi``) instead of its services."""

        def once() -> T:
            with _told(doing):
                return ask(self.api)

        return persistently(once, self.patience, repeatable=repeatable)


def connect(patience: Patience | None = None) -> Connection:
    """Import the client and authenticate.

    Args:
        patience: for every request of the connection.

    Raises:
        KaggleError: the client is not installed, there are no credentials, or Kaggle refuses them.
    """
    patience = patience or Patience()
    heard = io.StringIO()

    def authenticate() -> Any:
        api = _made(_patient_class())
        try:
            with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
                api.authenticate()
        except SystemExit as error:
            line = f"no Kaggle credentials that work (none, or expired): {HOW_TO_LOG_IN}"
            raise KaggleError(line, Kind.CREDENTIALS) from error
        except Exception as error:  # the client raises a dozen kinds
            raise translate(error, "log in to Kaggle") from error
        return api

    connection = Connection(persistently(authenticate, patience), patience)
    _repeat(heard)  # as that kaggle.json can be read by others
    return connection


def _made(api_class: Any) -> Any:
    """A client that also looks for what 'kaggle auth login' leaves: 2.0 only does when it is told to."""
    oauth = "enable_oauth" in inspect.signature(api_class).parameters
    return api_class(enable_oauth=True) if oauth else api_class()


def version() -> str:
    """Version of the client that is installed; "of an unknown version" where nothing tells."""
    try:
        return metadata.version("kaggle")
    except metadata.PackageNotFoundError:
        return "of an unknown version"


def knows(service: Any, name: str) -> bool:
    """Whether this version of the client has a request, or a field of one."""
    return hasattr(type(service), name)


@lru_cache(maxsize=1)
def _patient_class() -> Any:
    """``KaggleApi`` whose requests end in time and are never printed.

    Raises:
        KaggleError: the client is not installed, too old, or cannot be imported.
    """
    too_old = f"kaggle {version()} is too old: this command needs {_OLDEST}.0 or later ({UPGRADE})"
    if version().split(".")[0] in map(str, range(_OLDEST)):  # before the import, which may ask for credentials
        raise KaggleError(too_old)
    kaggle_api = _imported()
    if not hasattr(kaggle_api, "build_kaggle_client"):
        raise KaggleError(too_old)

    class PatientApi(kaggle_api):  # type: ignore[misc,valid-type]
        """Overrides the one method through which the client makes every connection."""

        def build_kaggle_client(self) -> Any:
            self.args = [argument for argument in super().args if argument not in ("--verbose", "-v")]
            client = super().build_kaggle_client()
            http = client.http_client()
            http._init_session()
            for scheme in ("https://", "http://"):
                http._session.mount(scheme, timely_adapter())
            return client

    return PatientApi


def _imported() -> Any:
    """The class ``KaggleApi``. Importing it authenticates once, which may print and even exit; both are held back."""
    import requests

    heard = io.StringIO()
    try:
        with _not_talkative(), contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        reason = "" if (error.name or "").split(".")[0] == "kaggle" else f" ({one_line(error, 120)})"
        raise KaggleError(f"{_EXTRA}{reason}") from error
    except requests.exceptions.RequestException as error:
        raise translate(error, "log in to Kaggle") from error
    except OSError as error:
        raise KaggleError(
            f"the kaggle client cannot make its folder ({one_line(error, 160)}): set KAGGLE_CONFIG_DIR"
        ) from error
    except SystemExit as error:
        raise KaggleError(f"no Kaggle credentials were found: {HOW_TO_LOG_IN}", Kind.CREDENTIALS) from error
    return KaggleApi


@contextlib.contextmanager
def _not_talkative() -> Iterator[None]:
    """Hide the variables that make the client print its requests, credentials included, already at import.

    2.0 leaves the process at import without credentials, and counts those of 'kaggle auth login' only when told to.
    """
    changed = {name: os.environ.get(name) for name in (*_TALKATIVE, "KAGGLE_ENABLE_OAUTH")}
    for name in _TALKATIVE:
        os.environ.pop(name, None)
    os.environ["KAGGLE_ENABLE_OAUTH"] = "1"
    try:
        yield
    finally:
        for name, value in changed.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    """Errors become one line; what the client prints goes to standard error, redacted, so that results stay clean."""
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard):
            yield
    except KaggleError:
        raise
    except SystemExit as error:
        raise KaggleError(f"cannot {doing}: the client gave up ({one_line(error.code)})") from error
    except Exception as error:  # the client raises a dozen kinds
        raise translate(error, doing) from error
    finally:
        _repeat(heard)


def _repeat(heard: io.StringIO) -> None:
    for line in dict.fromkeys(heard.getvalue().splitlines()):
        if line.strip():
            say(f"kaggle: {one_line(line)}")


def timely_adapter() -> Any:
    """A transport that gives up on a silent server; the client itself would wait for ever."""
    from requests.adapters import HTTPAdapter

    class Timely(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            if options.get("timeout") is None:
                options["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
            return super().send(request, *args, **options)

    return Timely()


def plain_session() -> Any:
    """A session without credentials, for addresses that Kaggle hands out (uploads, downloads)."""
    import requests

    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # so that the stated length is that of the file
    for scheme in ("https://", "http://"):
        session.mount(scheme, timely_adapter())
    return session
